#include <cstdio>

#include "kernels/emulate.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "sim/simulator.h"
#include "traces/import.h"

int main() {
  using namespace espalier;
  const auto forest = traces::parse_tree("1,10|4096,416");
  const auto heads = traces::parse_heads("32/8/128");
  const auto device = costmodel::find_device("h100-sxm");
  const auto result = scheduler::make_plan(scheduler::parse_strategy("codec"), {forest, heads, device});
  const auto& plan = std::get<scheduler::Plan>(result);
  std::printf("%zu nodes, %zu requests, %s, %.1f us\n", forest.node_count(), forest.request_count(),
              scheduler::validate(plan, device).empty() ? "valid" : "invalid", sim::simulate(plan, device).makespan_us);
  std::printf("%zu kernels to emulate it with\n", kernels::host_kernels().attend.size());
}
