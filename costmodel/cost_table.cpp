// cost_table/1 and the model that interpolates in it.
#include "costmodel/cost_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <map>

#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/text.h"
#include "core/units.h"

namespace espalier::costmodel {
namespace {

constexpr std::int64_t kMostRows = 1 << 20;
constexpr std::int64_t kMostColumns = std::int64_t{1} << 40;
constexpr double kMostUs = 1e12;  // eleven days: beyond it a number is a mistake

std::vector<std::int64_t> read_axis(const core::JsonView& grid, std::string_view key, std::int64_t most) {
  const core::JsonView view = grid.at(key);
  std::vector<std::int64_t> axis = view.integers(1, most);
  if (axis.empty()) throw core::bad_input(view.where(), "one point or more", "none");
  for (std::size_t i = 1; i < axis.size(); ++i) {
    if (axis[i] <= axis[i - 1]) {
      throw core::bad_input(view.where(), "points in rising order", fmt::format("{} after {}", axis[i], axis[i - 1]));
    }
  }
  return axis;
}

/// Names of a grid's axes in the file.
struct AxisNames {
  std::string_view rows, columns;
};
constexpr AxisNames kTaskAxes = {"query_rows", "kv_tokens"};
constexpr AxisNames kReductionAxes = {"rows", "inputs"};

std::vector<CostGrid> read_grids(const core::JsonView& list, const AxisNames& names) {
  std::vector<CostGrid> grids;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const core::JsonView view = list.at(i);
    view.allow_only({"kernel", names.rows, names.columns, "us"});
    CostGrid grid{view.at("kernel").string(),
                  read_axis(view, names.rows, kMostRows),
                  read_axis(view, names.columns, kMostColumns),
                  {}};
    const bool known =
        std::any_of(grids.begin(), grids.end(), [&](const CostGrid& g) { return g.kernel == grid.kernel; });
    if (known) throw core::bad_input(view.where(), "each kernel once", fmt::format("a second grid of {}", grid.kernel));
    const core::JsonView us = view.at("us");
    const std::size_t points = grid.rows.size() * grid.columns.size();
    if (us.size() != points) {
      throw core::bad_input(us.where(), fmt::format("{} x {} times", grid.rows.size(), grid.columns.size()),
                            std::to_string(us.size()));
    }
    for (std::size_t p = 0; p < points; ++p) {
      grid.us.push_back(us.at(p).number(std::numeric_limits<double>::min(), kMostUs));
    }
    grids.push_back(std::move(grid));
  }
  return grids;
}

traces::Dtype read_dtype(const core::JsonView& view) {
  const std::optional<traces::Dtype> dtype = traces::dtype_of(view.string());
  if (!dtype) throw core::bad_input(view.where(), "bf16, fp16, fp32 or fp8_e4m3", view.string());
  return *dtype;
}

traces::HeadConfig read_heads(const core::JsonView& root) {
  const core::JsonView view = root.at("heads");
  traces::HeadConfig heads;
  try {
    heads = traces::parse_heads(view.string());
  } catch (const core::Error& error) {
    throw core::bad_input(view.where(), "heads such as 32/8/128", error.what());
  }
  heads.q_dtype = read_dtype(root.at("q_dtype"));
  heads.kv_dtype = read_dtype(root.at("kv_dtype"));
  return heads;
}

void write_grids(core::JsonWriter& out, const std::vector<CostGrid>& grids, const AxisNames& names) {
  out.begin_array();
  for (const CostGrid& grid : grids) {
    out.begin_object().field("kernel", grid.kernel).field(names.rows, grid.rows);
    out.field(names.columns, grid.columns).field("us", grid.us).end_object();
  }
  out.end_array();
}

std::string shape_text(const traces::HeadConfig& heads) {
  return fmt::format("{} {} over {}", traces::heads_text(heads), traces::dtype_name(heads.q_dtype),
                     traces::dtype_name(heads.kv_dtype));
}

/// Place of a value on an axis: between points `below` and `below + 1`, `part` of the way (above 1: beyond the last
/// point).
struct Place {
  std::size_t below = 0;
  double part = 0;
  bool outside = false;
};

/// Below the first point a value stands on it; beyond the last the last interval goes on.
Place place_on(const std::vector<std::int64_t>& axis, std::int64_t value) {
  const bool outside = value < axis.front() || value > axis.back();
  if (value <= axis.front() || axis.size() == 1) return {0, 0, outside};
  const auto above = std::upper_bound(axis.begin(), axis.end() - 1, value) - axis.begin();
  const auto below = static_cast<std::size_t>(above - 1);
  const auto gap = static_cast<double>(axis[below + 1] - axis[below]);
  return {below, static_cast<double>(value - axis[below]) / gap, outside};
}

double along(const CostGrid& grid, std::size_t row, const Place& column) {
  const double* us = grid.us.data() + row * grid.columns.size();
  if (grid.columns.size() == 1 || column.part == 0) return us[column.below];
  return us[column.below] + column.part * (us[column.below + 1] - us[column.below]);
}

/// `rows` is within the grid or below it.
Cost interpolate(const CostGrid& grid, std::int64_t rows, std::int64_t columns) {
  const Place row = place_on(grid.rows, rows);
  const Place column = place_on(grid.columns, columns);
  double us = along(grid, row.below, column);
  if (row.part > 0) us += row.part * (along(grid, row.below + 1, column) - us);
  return {us, row.outside || column.outside};
}

/// Query rows of the fullest task of a kernel: whole requests, as many of the group's heads a CTA as the tile holds.
std::int64_t fullest_rows(const KernelConfig& kernel, const traces::HeadConfig& heads) {
  if (!kernel.packs_heads) return kernel.query_tile;
  std::int64_t copy = std::min(heads.group(), kernel.query_tile);
  while (heads.group() % copy != 0) --copy;
  return kernel.query_tile / copy * copy;
}

class TableModel final : public CostModel {
 public:
  TableModel(const CostTable& table, std::string origin) : origin_(std::move(origin)), heads_(table.heads) {
    for (const CostGrid& grid : table.tasks) tasks_.emplace(grid.kernel, rising(grid));
    for (const CostGrid& grid : table.reductions) reductions_.emplace(grid.kernel, rising(grid));
  }

  std::string_view name() const override { return "table"; }

  /// Rows beyond the query tile count as so many full tiles, as a planner that asks about them means several CTAs.
  Cost task(const TaskShape& shape, const KernelConfig& kernel) const override {
    const CostGrid& grid = find(tasks_, kernel, "tasks");
    const std::int64_t fullest = fullest_rows(kernel, heads_);
    if (grid.rows.back() < fullest) {
      throw core::bad_input(origin_,
                            fmt::format("times of kernel {} up to {} query rows (its tile is {})", kernel.name, fullest,
                                        kernel.query_tile),
                            fmt::format("up to {}", grid.rows.back()));
    }
    const std::int64_t rows = std::max<std::int64_t>(1, std::int64_t{shape.queries} * shape.heads);
    const std::int64_t tiles = core::ceil_div(rows, kernel.query_tile);
    Cost cost = interpolate(grid, std::min(rows, grid.rows.back()), shape.kv_tokens);
    cost.us *= static_cast<double>(tiles);
    return cost;
  }

  Cost reduction(const ReductionShape& shape, const KernelConfig& kernel) const override {
    const CostGrid& grid = find(reductions_, kernel, "merges");
    const std::int64_t rows = std::max<std::int64_t>(1, core::checked_mul(shape.rows, shape.heads));
    Cost cost = interpolate(grid, std::min(rows, grid.rows.back()), shape.inputs);
    // More rows than the grid's largest CTA: one CTA after the other.
    if (rows > grid.rows.back()) {
      cost.us *= static_cast<double>(rows) / static_cast<double>(grid.rows.back());
      cost.extrapolated = true;
    }
    return cost;
  }

 private:
  using Grids = std::map<std::string, CostGrid, std::less<>>;

  static CostGrid rising(CostGrid grid) {
    for (std::size_t p = 0; p < grid.us.size(); ++p) {
      if (p % grid.columns.size() != 0) grid.us[p] = std::max(grid.us[p], grid.us[p - 1]);
    }
    return grid;
  }

  const CostGrid& find(const Grids& grids, const KernelConfig& kernel, std::string_view what) const {
    const auto grid = grids.find(kernel.name);
    if (grid != grids.end()) return grid->second;
    std::vector<std::string> names;
    for (const auto& [name, unused] : grids) names.push_back(name);
    throw core::bad_input(origin_,
                          fmt::format("times of {} on kernel {} (query tile {})", what, kernel.name, kernel.query_tile),
                          names.empty() ? "none" : "only those on " + core::join(names, ", "));
  }

  std::string origin_;
  traces::HeadConfig heads_;
  Grids tasks_, reductions_;
};

}  // namespace

CostTable read_cost_table(std::string_view text, const std::string& file) {
  const core::JsonDocument document = core::JsonDocument::parse(text, file);
  const core::JsonView root = document.root();
  root.require_schema("cost_table/1");
  root.allow_only({"schema", "device", "device_hash", "heads", "q_dtype", "kv_dtype", "source", "tasks", "reductions"});
  CostTable table;
  table.device = root.at("device").string();
  if (const auto hash = root.find("device_hash"); hash && !hash->is_null()) table.device_hash = hash->hash();
  table.heads = read_heads(root);
  table.source = root.at("source").string();
  if (table.source != "simulated" && table.source != "measured") {
    throw core::bad_input(root.at("source").where(), "simulated or measured", table.source);
  }
  table.tasks = read_grids(root.at("tasks"), kTaskAxes);
  table.reductions = read_grids(root.at("reductions"), kReductionAxes);
  return table;
}

std::string write_cost_table(const CostTable& table) {
  core::JsonWriter out;
  out.begin_object().field("schema", "cost_table/1").field("device", table.device);
  if (table.device_hash) out.field("device_hash", core::hash_text(*table.device_hash));
  out.field("heads", traces::heads_text(table.heads)).field("q_dtype", traces::dtype_name(table.heads.q_dtype));
  out.field("kv_dtype", traces::dtype_name(table.heads.kv_dtype)).field("source", table.source);
  out.key("tasks");
  write_grids(out, table.tasks, kTaskAxes);
  out.key("reductions");
  write_grids(out, table.reductions, kReductionAxes);
  return out.end_object().finish();
}

std::unique_ptr<CostModel> make_table_model(CostTable table, const std::string& origin, const DeviceSpec& device,
                                            const traces::HeadConfig& heads) {
  if (table.device != device.name) {
    throw core::bad_input(origin, "a cost table of " + device.name, "one of " + table.device);
  }
  if (table.device_hash && *table.device_hash != device_hash(device)) {
    throw core::bad_input(origin, fmt::format("a cost table made with today's numbers of {}", device.name),
                          "one made with others");
  }
  traces::HeadConfig asked = heads;
  asked.scale = table.heads.scale = 0;
  if (asked != table.heads) {
    throw core::bad_input(origin, "a cost table for " + shape_text(asked), "one for " + shape_text(table.heads));
  }
  return std::make_unique<TableModel>(table, origin);
}

}  // namespace espalier::costmodel
