// forest/1: our own document of a forest, alone or inside another document.
#include <fmt/core.h>

#include "core/error.h"
#include "core/json.h"
#include "core/units.h"
#include "traces/import.h"

namespace espalier::traces {
namespace {

std::vector<std::int64_t> wide(const std::vector<NodeId>& ids) {
  std::vector<std::int64_t> values;
  values.reserve(ids.size());
  for (const NodeId id : ids) values.push_back(id.value);
  return values;
}

/// Whether every node begins a page of its own, one node after the other: what make_forest lays out.
bool has_default_layout(const PrefixForest& forest) {
  std::int64_t next = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (forest.pages.first_page[n] != next || forest.pages.first_offset[n] != 0) return false;
    next += core::ceil_div(forest.tokens[n], forest.pages.page_size);
  }
  return true;
}

void check_rows(const core::JsonView& column, std::size_t expected, std::string_view of) {
  if (column.size() != expected) {
    throw core::bad_input(column.where(), fmt::format("{} elements, one a {}", expected, of),
                          std::to_string(column.size()));
  }
}

/// Takes first_page and first_offset of the file's rows over to the forest's nodes, whose labels still are those rows.
void read_layout(const core::JsonView& object, PrefixForest& forest, std::size_t rows) {
  PageTable& pages = forest.pages;
  const std::int64_t high = max_page_id(pages.page_size);
  if (const auto ids = object.find("page_ids")) pages.page_ids = ids->integers(0, high);
  const auto first_page = object.find("first_page");
  if (first_page) {
    const core::JsonView first_offset = object.at("first_offset");
    check_rows(*first_page, rows, "node");
    check_rows(first_offset, rows, "node");
    const auto page = first_page->integers(0, high);
    const auto offset = first_offset.integers32(0, pages.page_size - 1);
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      pages.first_page[n] = page[static_cast<std::size_t>(forest.node_label[n])];
      pages.first_offset[n] = offset[static_cast<std::size_t>(forest.node_label[n])];
    }
  } else if (const auto offset = object.find("first_offset")) {
    throw core::bad_input(offset->where(), "first_page beside it", "none");
  }
  const std::int64_t end = pages.page_ids.empty() ? high + 1 : static_cast<std::int64_t>(pages.page_ids.size());
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (last_page(pages, n, forest.tokens[n]) < end) continue;
    const std::string where =
        first_page ? fmt::format("{}[{}]", first_page->where(), forest.node_label[n]) : object.at("page_ids").where();
    throw core::bad_input(where, fmt::format("a node that ends before page {}", end),
                          fmt::format("one that ends in page {}", last_page(pages, n, forest.tokens[n])));
  }
}

}  // namespace

void write_forest(core::JsonWriter& out, const PrefixForest& forest) {
  out.begin_object();
  out.field("schema", "forest/1").field("name", forest.name).field("page_size", forest.pages.page_size);
  out.field("parent", wide(forest.parent.raw())).field("tokens", forest.tokens.raw());
  out.field("node_label", forest.node_label.raw());
  out.field("leaf", wide(forest.leaf.raw())).field("request_label", forest.request_label.raw());
  out.field("batch_position", forest.batch_position.raw());
  if (!has_default_layout(forest)) {
    out.field("first_page", forest.pages.first_page.raw()).field("first_offset", forest.pages.first_offset.raw());
  }
  if (!forest.pages.page_ids.empty()) out.field("page_ids", forest.pages.page_ids);
  out.end_object();
}

std::string write_forest(const PrefixForest& forest) {
  core::JsonWriter out;
  write_forest(out, forest);
  return out.finish();
}

PrefixForest read_forest(const core::JsonView& object) {
  object.require_schema("forest/1");
  object.allow_only({"schema", "name", "page_size", "parent", "tokens", "node_label", "leaf", "request_label",
                     "batch_position", "first_page", "first_offset", "page_ids"});
  ForestSource source;
  source.name = object.where();
  if (const auto size = object.find("page_size")) {
    source.page_size = static_cast<std::int32_t>(size->integer(1, kMaxPageSize));
  }
  const auto nodes = static_cast<std::int64_t>(object.at("parent").size());
  source.parent = object.at("parent").integers(-1, nodes - 1);
  source.tokens = object.at("tokens").integers(0, kMaxNodeTokens);
  source.leaf = object.at("leaf").integers(0, std::max<std::int64_t>(nodes - 1, 0));
  if (const auto labels = object.find("request_label")) {
    check_rows(*labels, source.leaf.size(), "request");
    source.request_label = labels->strings();
  }
  if (const auto positions = object.find("batch_position")) {
    source.batch_position = positions->integers32();
  }
  PrefixForest forest = make_forest(source);
  forest.name = object.find("name") ? object.at("name").string() : "";
  read_layout(object, forest, source.parent.size());
  if (const auto labels = object.find("node_label")) {
    check_rows(*labels, source.parent.size(), "node");
    const auto label = labels->integers();
    for (std::int64_t& own : forest.node_label) own = label[static_cast<std::size_t>(own)];
  }
  return forest;
}

PrefixForest read_forest_document(std::string_view text, const std::string& file) {
  const auto document = core::JsonDocument::parse(text, file);
  return read_forest(document.root());
}

}  // namespace espalier::traces
