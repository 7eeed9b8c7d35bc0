// Paged block tables: what a serving engine has at hand at every step. Reading one back gives the same sharing.
#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "core/json.h"
#include "core/units.h"
#include "traces/import.h"
#include "traces/path_trie.h"

namespace espalier::traces {
namespace {

std::string where_of(const BlockTable& table, const std::string& name, std::size_t r) {
  return table.line.empty() ? fmt::format("{}: request {}", name, r) : fmt::format("{}:{}", name, table.line[r]);
}

void check_ids(const BlockTable& table, const std::string& name) {
  std::unordered_map<std::string_view, std::size_t> first;
  first.reserve(table.request_id.size());
  for (std::size_t r = 0; r < table.request_id.size(); ++r) {
    const auto [seen, fresh] = first.emplace(table.request_id[r], r);
    if (!fresh) {
      throw core::bad_input(
          where_of(table, name, r) + ": id", "an id of its own",
          fmt::format("\"{}\" again, as in {}", table.request_id[r], where_of(table, name, seen->second)));
    }
  }
}

void check_lengths(const BlockTable& table, const std::string& name) {
  const std::size_t n = table.request_id.size();
  ESPALIER_CHECK_OP(table.tokens.size(), ==, n);
  ESPALIER_CHECK_OP(table.page_begin.size(), ==, n + 1);
  ESPALIER_CHECK_OP(table.page_begin.back(), ==, table.pages.size());
  if (table.page_size < 1 || table.page_size > kMaxPageSize) {
    throw core::bad_input(name + ": page_size", fmt::format("an integer from 1 to {}", kMaxPageSize),
                          std::to_string(table.page_size));
  }
  for (std::size_t r = 0; r < n; ++r) {
    const auto pages = static_cast<std::int64_t>(table.page_begin[r + 1] - table.page_begin[r]);
    if (table.tokens[r] < 1) {
      throw core::bad_input(where_of(table, name, r) + ": tokens", "an integer >= 1", std::to_string(table.tokens[r]));
    }
    if (const std::int64_t needed = core::ceil_div(table.tokens[r], table.page_size); pages != needed) {
      throw core::bad_input(where_of(table, name, r) + ": pages",
                            fmt::format("{} pages for {} tokens", needed, table.tokens[r]), std::to_string(pages));
    }
  }
}

[[noreturn]] void fail_repeat(const BlockTable& table, const std::string& name, std::size_t r, std::size_t at) {
  throw core::bad_input(fmt::format("{}: pages[{}]", where_of(table, name, r), at - table.page_begin[r]),
                        "each page once in a request", fmt::format("page {} again", table.pages[at]));
}

/// Every page id in range, and none twice in one request.
void check_page_ids(const BlockTable& table, const std::string& name) {
  const std::int64_t high = max_page_id(table.page_size);
  std::unordered_set<std::int64_t> own;
  for (std::size_t r = 0; r < table.request_id.size(); ++r) {
    own.clear();
    for (std::size_t at = table.page_begin[r]; at < table.page_begin[r + 1]; ++at) {
      const std::int64_t page = table.pages[at];
      if (page < 0 || page > high) {
        throw core::bad_input(fmt::format("{}: pages[{}]", where_of(table, name, r), at - table.page_begin[r]),
                              fmt::format("an integer from 0 to {}", high), std::to_string(page));
      }
      if (!own.insert(page).second) fail_repeat(table, name, r, at);
    }
  }
}

/// True when all pages of all nodes are in range and differ: then no request can have one twice. Tables of engines are
/// like that, and what many requests share is looked at once.
bool pages_are_distinct(const std::vector<std::int64_t>& page_ids) {
  constexpr std::uint64_t kMostBits = std::uint64_t{1} << 26;
  static_assert(kMostBits <= static_cast<std::uint64_t>(max_page_id(kMaxPageSize)));
  std::uint64_t any = 0;  // a negative id has the highest bit
  for (const std::int64_t page : page_ids) any |= static_cast<std::uint64_t>(page);
  if (any >= kMostBits) return false;
  std::vector<std::uint64_t> seen(any / 64 + 1, 0);
  // Neighbours often follow one another: a word is held until another one's turn comes, and eight pages in a row are
  // marked at once.
  std::uint64_t repeated = 0, held = 0, at = 0;
  const auto mark = [&](std::uint64_t page, std::uint64_t pages) {
    if (page / 64 != at) {
      seen[at] = held;
      at = page / 64;
      held = seen[at];
    }
    repeated |= held & pages << page % 64;
    held |= pages << page % 64;
  };
  constexpr std::size_t kRow = 8;
  for (std::size_t i = 0; i < page_ids.size();) {
    const std::int64_t* const ids = page_ids.data() + i;
    const std::size_t some = std::min(kRow, page_ids.size() - i);
    const auto first = static_cast<std::uint64_t>(ids[0]);
    std::int64_t apart = some < kRow || first % 64 > 64 - kRow ? 1 : 0;
    for (std::size_t k = 1; k < some; ++k) apart |= ids[k] - ids[0] - static_cast<std::int64_t>(k);
    if (apart == 0) {
      mark(first, (std::uint64_t{1} << kRow) - 1);
    } else {
      for (std::size_t k = 0; k < some; ++k) mark(static_cast<std::uint64_t>(ids[k]), 1);
    }
    i += some;
  }
  return repeated == 0;
}

/// What is left to do once the trie stands: nodes to rows, pages to the page table.
template <class PageId>
PrefixForest forest_of_trie(PathForest&& trie, std::span<const PageId> ids) {
  PrefixForest forest = make_forest_in_preorder(std::move(trie.source));
  PageTable& pages = forest.pages;
  std::size_t total = 0;
  for (const NodeUnits& units : trie.units) total += units.ids_end - units.ids_begin;
  pages.page_ids.reserve(total);
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const NodeUnits& units = trie.units[n.index()];
    const NodeId parent = forest.parent[n];
    const auto next = static_cast<std::int64_t>(pages.page_ids.size());
    pages.first_offset[n] = static_cast<std::int32_t>(units.first_offset);
    pages.first_page[n] = units.first_offset > 0 ? last_page(pages, parent, forest.tokens[parent]) : next;
    // A node that goes on from a page begun above continues with fresh pages: they must follow that page in page_ids.
    if (units.first_offset > 0) ESPALIER_CHECK_OP(pages.first_page[n], ==, next - 1);
    pages.page_ids.insert(pages.page_ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(units.ids_begin),
                          ids.begin() + static_cast<std::ptrdiff_t>(units.ids_end));
  }
  return forest;
}

/// Where the pages of each request begin behind those of the first, and where the last one's end. Throws unless all of
/// them are there.
std::vector<std::size_t> offsets_in_slice(const BlockTableView& view, const std::string& name) {
  std::vector<std::size_t> begin(view.page_begin.size());
  std::int32_t before = 0;
  for (std::size_t r = 0; r < begin.size(); ++r) {
    const std::int32_t at = view.page_begin[r];
    if (at < before || static_cast<std::size_t>(at) > view.pages.size()) {
      throw core::bad_input(fmt::format("{}: page_begin[{}]", name, r),
                            fmt::format("{} to {}", before, view.pages.size()), std::to_string(at));
    }
    begin[r] = static_cast<std::size_t>(at - view.page_begin[0]);
    before = at;
  }
  return begin;
}

void read_request(const core::JsonLine& line, const std::string& file, BlockTable& table) {
  const auto document = core::JsonDocument::parse(line.text, file, line.number);
  const core::JsonView root = document.root();
  root.allow_only({"id", "tokens", "pages"});
  const core::JsonView id = root.at("id");
  table.request_id.push_back(id.is_string() ? id.string() : std::to_string(id.integer()));
  table.tokens.push_back(root.at("tokens").integer(1));
  const auto pages = root.at("pages").integers(0, max_page_id(table.page_size));
  table.pages.insert(table.pages.end(), pages.begin(), pages.end());
  table.page_begin.push_back(table.pages.size());
  table.line.push_back(line.number);
}

}  // namespace

BlockTable parse_block_table(std::string_view text, const std::string& file) {
  const auto lines = core::json_lines(text);
  if (lines.empty()) throw core::bad_input(file, "a block table", "an empty file");
  BlockTable table;
  const auto header = core::JsonDocument::parse(lines.front().text, file, lines.front().number);
  header.root().require_schema("block_table/1");
  header.root().allow_only({"schema", "page_size"});
  table.page_size = static_cast<std::int32_t>(header.root().at("page_size").integer(1, kMaxPageSize));
  for (std::size_t i = 1; i < lines.size(); ++i) read_request(lines[i], file, table);
  return table;
}

PrefixForest make_forest(const BlockTable& table, const std::string& name) {
  check_lengths(table, name);
  check_ids(table, name);
  const PathView<std::int64_t> paths{table.page_size, table.page_begin, table.pages, table.tokens};
  PathForest trie = preorder_of_paths(paths);
  trie.source.name = name;
  trie.source.page_size = table.page_size;
  trie.source.request_label = table.request_id;
  PrefixForest forest = forest_of_trie(std::move(trie), paths.ids);
  if (!pages_are_distinct(forest.pages.page_ids)) check_page_ids(table, name);
  return forest;
}

PrefixForest make_forest(const BlockTableView& view, const std::string& name) {
  ESPALIER_CHECK_OP(view.page_begin.size(), ==, view.tokens.size() + 1);
  const std::vector<std::size_t> begin = offsets_in_slice(view, name);
  const std::span<const std::int32_t> pages =
      view.pages.subspan(static_cast<std::size_t>(view.page_begin.front()), begin.back());
  const std::vector<std::int64_t> tokens(view.tokens.begin(), view.tokens.end());
  const std::size_t requests = tokens.size();
  // What else is wrong is said by the general import.
  bool fits = view.page_size >= 1 && view.page_size <= kMaxPageSize;
  for (std::size_t r = 0; fits && r < requests; ++r) {
    fits = tokens[r] >= 1 &&
           static_cast<std::int64_t>(begin[r + 1] - begin[r]) == core::ceil_div(tokens[r], view.page_size);
  }
  if (fits) {
    const PathView<std::int32_t> paths{view.page_size, begin, pages, tokens};
    PathForest trie = preorder_of_paths(paths);
    trie.source.name = name;
    trie.source.page_size = view.page_size;
    PrefixForest forest = forest_of_trie(std::move(trie), paths.ids);
    if (pages_are_distinct(forest.pages.page_ids)) return forest;
  }
  BlockTable table;
  table.page_size = view.page_size;
  for (std::size_t r = 0; r < requests; ++r) table.request_id.push_back(std::to_string(r));
  table.tokens = tokens;
  table.page_begin = begin;
  table.pages.assign(pages.begin(), pages.end());
  return make_forest(table, name);
}

PrefixForest read_block_table(std::string_view text, const std::string& file) {
  return make_forest(parse_block_table(text, file), file);
}

namespace {

/// Physical page of a logical one.
std::int64_t physical(const PageTable& pages, std::int64_t logical) {
  return pages.page_ids.empty() ? logical : pages.page_ids[static_cast<std::size_t>(logical)];
}

/// Throws unless a node goes on exactly where its parent stops.
void check_continues(const PrefixForest& forest, NodeId n) {
  const PageTable& pages = forest.pages;
  const NodeId parent = forest.parent[n];
  const std::int64_t filled =
      parent.valid() ? (pages.first_offset[parent] + forest.tokens[parent]) % pages.page_size : 0;
  const bool same_page = filled == 0 || physical(pages, pages.first_page[n]) ==
                                            physical(pages, last_page(pages, parent, forest.tokens[parent]));
  if (pages.first_offset[n] == filled && same_page) return;
  throw core::bad_input(
      fmt::format("{}: node {}", forest.name, forest.node_label[n]),
      fmt::format("a node that goes on in the page above it, of which {} of {} tokens are filled, as "
                  "block tables do",
                  filled, pages.page_size),
      fmt::format("one that begins at token {} of {} page", pages.first_offset[n], same_page ? "that" : "another"));
}

}  // namespace

std::string write_block_table(const PrefixForest& forest) {
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) check_continues(forest, n);
  const PageTable& pages = forest.pages;
  std::string text = fmt::format("{{\"schema\": \"block_table/1\", \"page_size\": {}}}\n", pages.page_size);
  std::vector<std::int64_t> own;
  for (const RequestId r : batch_order(forest)) {
    own.clear();
    for (const NodeId n : path_of(forest, forest.leaf[r])) {
      const std::int64_t begin = pages.first_page[n] + (pages.first_offset[n] > 0 ? 1 : 0);
      for (std::int64_t page = begin; page <= last_page(pages, n, forest.tokens[n]); ++page) {
        own.push_back(physical(pages, page));
      }
    }
    core::JsonWriter id;
    std::string label = id.value(forest.request_label[r]).finish();
    label.pop_back();
    text += fmt::format("{{\"id\": {}, \"tokens\": {}, \"pages\": [", label, forest.context_tokens(r));
    for (std::size_t i = 0; i < own.size(); ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", own[i]);
    text += "]}\n";
  }
  return text;
}

}  // namespace espalier::traces
