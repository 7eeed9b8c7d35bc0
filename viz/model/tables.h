// Nodes, tasks and requests as tables: for CSV files and for panels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/plan.h"
#include "sim/simulator.h"

namespace espalier::viz {

/// Rows of cells under headings whose names carry units. Row i stands for id i.
struct DataTable {
  std::vector<std::string> headings;
  std::vector<std::vector<std::string>> rows;
};

/// Without a plan the columns that speak of tasks are missing.
DataTable node_table(const traces::PrefixForest& forest, std::int64_t bytes_per_token, const scheduler::Plan* plan);
/// `result` must hold a timeline of `plan`; times are of the first copy to begin and the last to end.
DataTable request_table(const traces::PrefixForest& forest, const scheduler::Plan* plan, const sim::SimResult* result);
DataTable task_table(const scheduler::Plan& plan, const sim::SimResult& result);

/// RFC 4180 with lines ended by a newline.
std::string write_csv(const DataTable& table);

}  // namespace espalier::viz
