#include "viz/explore/sorted_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/text.h"
#include "viz/explore/row_filter.h"

namespace espalier::viz {
namespace {

DataTable strategy_table(const Outcome& outcome) {
  DataTable table{{"strategy", "time_us", "of_bound", "HBM_MiB", "tasks", "partial_rows", "remark"}, {}};
  for (const RankedStrategy& s : outcome.ranking) {
    const bool served = s.refusal.empty();
    table.rows.push_back(
        {s.name, served ? fmt::format("{:.2f}", s.us) : "", served ? fmt::format("{:.3f}", s.share_of_bound) : "",
         served ? fmt::format("{:.1f}", s.hbm_bytes / (1024 * 1024)) : "", served ? fmt::format("{}", s.tasks) : "",
         served ? fmt::format("{}", s.partial_rows) : "", s.refusal});
  }
  return table;
}

DataTable table_of(const Outcome& outcome, SideId id, Panel panel) {
  const SideOutcome& side = outcome.side(id);
  if (outcome.forest == nullptr) return {};
  if (panel == Panel::strategies) return strategy_table(outcome);
  const scheduler::Plan* plan = side.shown() ? side.plan.get() : nullptr;
  if (panel == Panel::nodes) return node_table(*outcome.forest, outcome.forest_index.bytes_per_token, plan);
  if (panel == Panel::requests) {
    return request_table(*outcome.forest, plan, plan == nullptr ? nullptr : &side.explanation.result);
  }
  return plan == nullptr ? DataTable{} : task_table(*plan, side.explanation.result);
}

std::string title_of(std::string heading) {
  std::replace(heading.begin(), heading.end(), '_', ' ');
  if (heading.ends_with(" us")) heading = heading.substr(0, heading.size() - 2) + "µs";
  return heading;
}

}  // namespace

SortedTable sort_table(DataTable data, std::int32_t column, bool down, std::string_view filter) {
  SortedTable table;
  table.data = std::move(data);
  for (std::size_t c = 0; c < table.data.headings.size(); ++c) {
    table.numeric.push_back(std::all_of(table.data.rows.begin(), table.data.rows.end(), [&](const auto& row) {
      return row[c].empty() || core::parse_number(row[c]).has_value();
    }));
    table.titles.push_back(title_of(table.data.headings[c]));
    std::string& widest = table.widest.emplace_back(table.titles.back() + " ↓");
    for (const auto& row : table.data.rows) widest = row[c].size() > widest.size() ? row[c] : widest;
  }
  const std::vector<bool> matching = matching_rows(table.data, filter);
  for (std::size_t row = 0; row < matching.size(); ++row) {
    if (matching[row]) table.order.push_back(static_cast<std::int32_t>(row));
  }
  if (column < 0 || static_cast<std::size_t>(column) >= table.numeric.size()) return table;
  const auto c = static_cast<std::size_t>(column);
  const auto cell = [&](std::int32_t row) -> const std::string& {
    return table.data.rows[static_cast<std::size_t>(row)][c];
  };
  if (table.numeric[c]) {
    std::vector<double> keys;
    for (const auto& row : table.data.rows) {
      keys.push_back(core::parse_number(row[c]).value_or(down ? -1 : 1e300));  // none: last
    }
    const auto key = [&](std::int32_t row) { return keys[static_cast<std::size_t>(row)]; };
    std::stable_sort(table.order.begin(), table.order.end(),
                     [&](auto a, auto b) { return down ? key(a) > key(b) : key(a) < key(b); });
  } else {
    std::stable_sort(table.order.begin(), table.order.end(),
                     [&](auto a, auto b) { return down ? cell(a) > cell(b) : cell(a) < cell(b); });
  }
  return table;
}

const SortedTable& TableCache::get(const std::shared_ptr<const Outcome>& outcome, SideId side, const Look& look) {
  const bool same = outcome == outcome_ && side == side_ && look.panel == panel_ && look.sort_column == column_ &&
                    look.sort_down == down_ && look.filter == filter_;
  if (same) return table_;
  outcome_ = outcome;
  side_ = side;
  panel_ = look.panel;
  column_ = look.sort_column;
  down_ = look.sort_down;
  filter_ = look.filter;
  table_ = sort_table(table_of(*outcome, side, panel_), column_, down_, filter_);
  return table_;
}

}  // namespace espalier::viz
