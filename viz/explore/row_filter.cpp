#include "viz/explore/row_filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/text.h"

namespace espalier::viz {
namespace {

using Row = std::vector<std::string>;

std::optional<std::size_t> column_of(const std::vector<std::string>& headings, std::string_view name) {
  if (name.empty()) return std::nullopt;
  const std::string inner_name = fmt::format("_{}", name);
  for (const bool inner : {false, true}) {
    for (std::size_t c = 0; c < headings.size(); ++c) {
      if (!inner && headings[c].starts_with(name)) return c;
      if (inner && headings[c].find(inner_name) != std::string::npos) return c;
    }
  }
  return std::nullopt;
}

bool compares(const std::string& cell, std::string_view op, const std::string& value) {
  const std::optional<double> left = core::parse_number(cell), right = core::parse_number(value);
  if (!left || !right) {
    const bool same = cell == value;
    return op == "!=" ? !same : (op == ":" || op == "=") && same;
  }
  if (op == "<") return *left < *right;
  if (op == ">") return *left > *right;
  if (op == "<=") return *left <= *right;
  if (op == ">=") return *left >= *right;
  return (*left == *right) != (op == "!=");
}

bool holds(const DataTable& table, const Row& row, const std::string& term) {
  const std::size_t at = term.find_first_of(":=<>!");
  if (at != std::string::npos) {
    const std::size_t past = term.find_first_not_of(":=<>!", at);
    if (const auto column = column_of(table.headings, std::string_view(term).substr(0, at));
        column && past != std::string::npos) {
      return compares(row[*column], term.substr(at, past - at), term.substr(past));
    }
  }
  return std::any_of(row.begin(), row.end(),
                     [&](const std::string& cell) { return cell.find(term) != std::string::npos; });
}

}  // namespace

std::vector<bool> matching_rows(const DataTable& table, std::string_view filter) {
  std::vector<std::string> terms = core::split(filter, ' ');
  std::erase(terms, "");
  std::vector<bool> matching;
  for (const Row& row : table.rows) {
    matching.push_back(
        std::all_of(terms.begin(), terms.end(), [&](const std::string& term) { return holds(table, row, term); }));
  }
  return matching;
}

}  // namespace espalier::viz
