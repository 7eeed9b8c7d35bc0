// espalier cost-table: times of single tasks by the simulator, as cost_table/1.

#include <fmt/core.h>

#include "apps/commands.h"
#include "core/error.h"
#include "core/file.h"
#include "sim/cost_table_maker.h"

namespace espalier::apps {

int run_cost_table(const CostTableCommand& command) {
  const auto devices = choose_devices(command.devices);
  if (devices.size() != 1) throw core::usage_error("cost-table takes one device");
  const HeadChoice choice = choose_heads(command.heads);
  const bool ours = choose_kernels(command.kernels) == scheduler::KernelSet::ours;
  const auto kernels = sim::profiled_kernels(devices.front(), choice.heads, ours);
  const costmodel::CostTable table = sim::make_cost_table(devices.front(), choice.heads, kernels);
  std::size_t points = 0;
  for (const costmodel::CostGrid& grid : table.tasks) points += grid.us.size();
  core::write_file(command.output, costmodel::write_cost_table(table));
  if (command.output != "-") {
    fmt::print("{}: {} points of {} kernels and {} merge kernels, simulated on {} at {}\n", command.output, points,
               table.tasks.size(), table.reductions.size(), devices.front().name, choice.text);
  }
  return 0;
}

}  // namespace espalier::apps
