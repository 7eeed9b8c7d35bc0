#include "fuzz.h"
#include "kernels/oracle.h"
#include "scheduler/plan_statistics.h"
#include "scheduler/validate.h"
#include "sim/simulator.h"

ESPALIER_FUZZ(text) {
  const auto plan = espalier::scheduler::read_plan(text, "fuzz");
  const auto device = espalier::costmodel::find_device("h100-sxm");
  if (!espalier::scheduler::validate(plan, device).empty()) return;
  (void)espalier::scheduler::statistics(plan);
  (void)espalier::sim::simulate(plan, device);
}
