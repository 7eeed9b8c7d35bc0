// The tables of tasks, nodes and requests in the order a heading asks for, made when something changed.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "viz/explore/session.h"
#include "viz/model/tables.h"

namespace espalier::viz {

struct SortedTable {
  DataTable data;
  std::vector<std::string> titles;  ///< headings as people read them: "begin µs"
  std::vector<std::string> widest;  ///< by column: its longest text
  std::vector<bool> numeric;        ///< by column: numbers, aligned right
  std::vector<std::int32_t> order;  ///< ids in the order shown
};
/// By id for column -1. Numbers by size, texts by bytes; equal ones by id. Only rows that match the filter.
SortedTable sort_table(DataTable data, std::int32_t column, bool down, std::string_view filter = {});

/// Keeps the table that was shown last.
class TableCache {
 public:
  const SortedTable& get(const std::shared_ptr<const Outcome>& outcome, SideId side, const Look& look);
  Item scrolled_to;  ///< what was brought into view last

 private:
  std::shared_ptr<const Outcome> outcome_;
  SideId side_ = SideId::a;
  Panel panel_ = Panel::timeline;
  std::int32_t column_ = -1;
  bool down_ = true;
  std::string filter_;
  SortedTable table_;
};

}  // namespace espalier::viz
