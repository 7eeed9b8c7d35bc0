// measurement/1: a run on real hardware, on paper.
#include <algorithm>

#include "core/hash.h"
#include "core/json.h"
#include "scheduler/timeline.h"

namespace espalier::scheduler {

double median_us(const Measurement& measurement) {
  std::vector<double> us = measurement.repeats_us;
  if (us.empty()) return 0;
  std::sort(us.begin(), us.end());
  const std::size_t middle = us.size() / 2;
  return us.size() % 2 == 1 ? us[middle] : (us[middle - 1] + us[middle]) / 2;
}

std::string write_measurement(const Measurement& measurement, const Plan& plan) {
  core::JsonWriter w;
  w.begin_object().field("schema", "measurement/1").field("device", measurement.device).field("backend", measurement.backend);
  w.field("plan", core::hash_text(measurement.plan_hash)).field("strategy", plan.provenance.strategy).field("input", plan.forest.name);
  w.field("heads", traces::heads_text(plan.heads)).field("median_us", median_us(measurement)).field("repeats_us", measurement.repeats_us);
  if (measurement.max_error < 0) w.key("max_error").null();
  else w.field("max_error", measurement.max_error);
  w.field("environment", measurement.environment).end_object();
  return w.finish();
}

}  // namespace espalier::scheduler
