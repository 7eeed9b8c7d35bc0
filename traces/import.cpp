// Snapshot files and the tree notation of the peers' benchmarks.
#include "traces/import.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"

namespace espalier::traces {
namespace {

/// Our own documents open with their schema; snapshot lines never have that key.
bool opens_with_schema(std::string_view text) {
  const auto skip_blanks = [&] {
    const std::size_t at = text.find_first_not_of(" \t\r\n");
    text.remove_prefix(std::min(at, text.size()));
  };
  skip_blanks();
  if (!text.starts_with('{')) return false;
  text.remove_prefix(1);
  skip_blanks();
  return text.starts_with("\"schema\"");
}

/// File name without folder and ending, the name of a snapshot that has none of its own.
std::string stem(const std::string& file) {
  const std::string base = file.substr(file.find_last_of('/') + 1);
  return base.substr(0, base.find(".jsonl"));
}

PrefixForest read_snapshot(const core::JsonView& root, const std::string& file, std::int64_t number) {
  root.allow_only({"name", "snapshot", "note", "parent", "tokens", "leaf"});
  const auto name = root.find("name");
  if (const auto note = root.find("note")) note->string();
  ForestSource source;
  source.name = root.where();
  const auto nodes = static_cast<std::int64_t>(root.at("parent").size());
  source.parent = root.at("parent").integers(-1, nodes - 1);
  source.tokens = root.at("tokens").integers(0, kMaxNodeTokens);
  source.leaf = root.at("leaf").integers(0, std::max<std::int64_t>(nodes - 1, 0));
  PrefixForest forest = make_forest(source);
  forest.name = fmt::format("{}#{}", name ? name->string() : stem(file), number);
  return forest;
}

core::Error bad_tree(std::string_view notation, std::string_view why) {
  return core::usage_error(fmt::format(
      "tree: expected nodes a level | tokens of each node, such as '1,10|4096,416', got '{}': {}", notation, why));
}

std::vector<std::int64_t> tree_column(std::string_view part, std::string_view notation, std::int64_t low,
                                      std::int64_t high) {
  std::vector<std::int64_t> column;
  for (const std::string& word : core::split(part, ',')) {
    const auto value = core::parse_integer(word);
    if (!value || *value < low || *value > high) {
      throw bad_tree(notation, fmt::format("'{}' is not an integer from {} to {}", word, low, high));
    }
    column.push_back(*value);
  }
  return column;
}

}  // namespace

std::vector<PrefixForest> read_forests(std::string_view text, const std::string& file,
                                       std::optional<std::int64_t> snapshot) {
  if (opens_with_schema(text)) {
    if (snapshot && *snapshot != 0) {
      throw core::bad_input(file, fmt::format("a snapshot {}", *snapshot),
                            "one forest/1 document, which is snapshot 0");
    }
    std::vector<PrefixForest> one;
    one.push_back(read_forest_document(text, file));
    return one;
  }
  const auto lines = core::json_lines(text);
  if (lines.empty()) throw core::bad_input(file, "a forest snapshot on each line", "an empty file");
  std::vector<PrefixForest> forests;
  std::vector<std::string> numbers;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto document = core::JsonDocument::parse(lines[i].text, file, lines[i].number);
    const auto own = document.root().find("snapshot");
    const std::int64_t number = own ? own->integer(0) : static_cast<std::int64_t>(i);
    numbers.push_back(std::to_string(number));
    if (!snapshot || number == *snapshot) forests.push_back(read_snapshot(document.root(), file, number));
  }
  if (forests.empty()) {
    throw core::bad_input(file, fmt::format("a snapshot {}", *snapshot), "only snapshots " + core::join(numbers, ", "));
  }
  return forests;
}

PrefixForest parse_tree(std::string_view notation) {
  const std::size_t bar = notation.find_first_of("|_");
  if (bar == std::string_view::npos) throw bad_tree(notation, "no '|'");
  const auto widths = tree_column(notation.substr(0, bar), notation, 1, kMaxNodes);
  const auto tokens = tree_column(notation.substr(bar + 1), notation, 0, kMaxNodeTokens);
  if (widths.size() != tokens.size()) {
    throw bad_tree(notation, fmt::format("{} levels of nodes, {} of tokens", widths.size(), tokens.size()));
  }
  if (std::all_of(tokens.begin(), tokens.end(), [](std::int64_t t) { return t == 0; })) {
    throw bad_tree(notation, "no tokens at all");
  }
  std::int64_t nodes = 0;
  for (const std::int64_t width : widths) nodes += width;
  if (nodes > kMaxNodes) throw bad_tree(notation, fmt::format("more than {} nodes", kMaxNodes));

  ForestSource source;
  std::int64_t above_begin = 0;
  for (std::size_t level = 0; level < widths.size(); ++level) {
    const auto begin = static_cast<std::int64_t>(source.parent.size());
    for (std::int64_t j = 0; j < widths[level]; ++j) {
      source.parent.push_back(level == 0 ? -1 : above_begin + j * widths[level - 1] / widths[level]);
      source.tokens.push_back(tokens[level]);
      if (level + 1 == widths.size()) source.leaf.push_back(begin + j);
    }
    above_begin = begin;
  }
  source.name = notation;
  return make_forest(source);
}

}  // namespace espalier::traces
