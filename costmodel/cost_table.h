// A profiled cost model (cost_table/1): times of single tasks and merges on a grid, for one device and one set of
// heads.
//
// The grid of a kernel is query rows x KV tokens; of a merge kernel, rows of one CTA x partial rows merged. Between
// points the time is interpolated (bilinear). Tables are made by the simulator (sim/cost_table_maker.h) or from
// measurements.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "costmodel/cost_model.h"

namespace espalier::costmodel {

struct CostGrid {
  std::string kernel;
  std::vector<std::int64_t> rows;     ///< query rows (requests x packed heads), rising
  std::vector<std::int64_t> columns;  ///< KV tokens; merges: partial rows merged into one; rising
  std::vector<double> us;             ///< row-major: us[r * columns + c], above zero
};

struct CostTable {
  std::string device;
  std::optional<std::uint64_t> device_hash;  ///< of the numbers it was simulated with; measured tables have none
  traces::HeadConfig heads;                  ///< the softmax scale doesn't count
  std::string source;                        ///< "simulated" or "measured"
  std::vector<CostGrid> tasks, reductions;   ///< one a kernel at most
};

/// Throws Error (bad input) for anything a grid can't be: unsorted or empty axes, a count of times that doesn't match,
/// a time that isn't above zero, a kernel named twice.
CostTable read_cost_table(std::string_view text, const std::string& file);
std::string write_cost_table(const CostTable& table);

/// The model of a table. Times that fall with more tokens (noise of a measurement) are raised to the greatest before
/// them. Outside the grid: fewer rows or tokens cost what the first point costs, more tokens continue the last slope;
/// both are marked extrapolated. A task whose kernel has no grid, or whose query tile the grid doesn't cover, is an
/// Error (bad input), as is a table of another device or other heads. `origin` is how errors name the table.
std::unique_ptr<CostModel> make_table_model(CostTable table, const std::string& origin, const DeviceSpec& device,
                                            const traces::HeadConfig& heads);

}  // namespace espalier::costmodel
