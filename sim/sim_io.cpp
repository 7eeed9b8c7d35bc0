// sim/1: the result of a simulation as JSON.
#include "core/hash.h"
#include "core/json.h"
#include "sim/explain.h"

namespace espalier::sim {
namespace {

void write_counts(core::JsonWriter& json, const costmodel::WorkCounts& counts) {
  json.key("counts").begin_object();
  json.field("kv_bytes", counts.kv_bytes);
  json.field("query_bytes", counts.query_bytes);
  json.field("partial_read_bytes", counts.partial_read_bytes);
  json.field("partial_write_bytes", counts.partial_write_bytes);
  json.field("output_bytes", counts.output_bytes);
  json.field("score_read_bytes", counts.score_read_bytes);
  json.field("score_write_bytes", counts.score_write_bytes);
  json.field("logical_flops", counts.logical_flops);
  json.field("mma_flops", counts.mma_flops);
  json.field("exps", counts.exps);
  json.field("fma_flops", counts.fma_flops);
  json.field("conversions", counts.conversions);
  json.field("smem_write_bytes", counts.smem_write_bytes);
  json.field("smem_read_bytes", counts.smem_read_bytes);
  json.field("kv_tiles", counts.kv_tiles);
  json.end_object();
}

void write_split(core::JsonWriter& json, const TimeSplit& split) {
  json.key("sm_time_us").begin_object();
  for (int b = 0; b < kBounds; ++b) {
    json.field("busy_" + std::string(bound_name(static_cast<Bound>(b))), split.busy[b]);
  }
  json.field("idle_launch", split.launch);
  json.field("idle_underfill", split.underfill);
  json.field("idle_tail", split.tail);
  json.field("idle_merge", split.merge);
  json.end_object();
}

void write_phases(core::JsonWriter& json, const std::vector<PhaseTime>& phases) {
  std::vector<std::int32_t> launch, phase;
  std::vector<double> begin, end;
  for (const PhaseTime& time : phases) {
    launch.push_back(time.launch.value);
    phase.push_back(time.phase);
    begin.push_back(time.begin_us);
    end.push_back(time.end_us);
  }
  json.key("phases").begin_object();
  json.field("launch", launch);
  json.field("phase", phase);
  json.field("begin_us", begin);
  json.field("end_us", end);
  json.end_object();
}

void write_path(core::JsonWriter& json, const std::vector<PathPart>& path) {
  json.key("critical_path").begin_array();
  for (const PathPart& part : path) {
    json.begin_object();
    json.field("kind", path_kind_name(part.kind)).field("launch", part.launch.value).field("phase", part.phase);
    json.field("begin_us", part.begin_us).field("end_us", part.end_us);
    json.field("ctas", part.ctas).field("longest", part.longest).field("longest_us", part.longest_us);
    for (int b = 0; b < kBounds; ++b) {
      json.field(std::string(bound_name(static_cast<Bound>(b))) + "_us", part.spent.us[b]);
    }
    json.end_object();
  }
  json.end_array();
}

void write_explanation(core::JsonWriter& json, const Explanation& explanation) {
  const SmTimeReasons& time = explanation.sm_time;
  json.key("explanation").begin_object();
  json.key("sm_time_us").begin_object();
  json.field("working_compute", time.compute).field("working_fixed", time.fixed);
  json.field("waiting_hbm", time.hbm).field("waiting_l2", time.l2).field("waiting_latency", time.latency);
  json.field("idle_launch", time.launch).field("idle_few", time.few).field("idle_tail", time.tail);
  json.field("idle_imbalance", time.imbalance).field("idle_merge", time.merge);
  json.end_object();
  write_path(json, explanation.path);
  json.key("sensitivities").begin_array();
  for (const Sensitivity& s : explanation.sensitivities) {
    json.begin_object().field("key", s.key).field("change", s.change);
    json.key("makespan_us");
    s.why_not.empty() ? json.value(s.makespan_us) : json.null();
    json.key("gain");
    s.why_not.empty() ? json.value(s.gain) : json.null();
    json.field("why_not", s.why_not).end_object();
  }
  json.end_array().end_object();
}

}  // namespace

std::string write_sim(const SimResult& result, const scheduler::Plan& plan, const Explanation* explanation) {
  core::JsonWriter json;
  json.begin_object();
  json.field("schema", "sim/1");
  json.field("device", result.device);
  json.field("plan_hash", core::hash_text(result.plan_hash));
  json.field("forest", plan.forest.name);
  json.field("heads", traces::heads_text(plan.heads));
  json.field("strategy", plan.provenance.strategy);
  json.field("makespan_us", result.makespan_us);
  if (result.high_us > 0) json.field("makespan_low_us", result.low_us).field("makespan_high_us", result.high_us);
  json.field("bound_by", std::string(bound_name(result.bound_by)));
  json.field("hbm_bytes", result.hbm_bytes);
  json.field("l2_bytes", result.l2_bytes);
  json.field("l2_hit_fraction", result.l2_hit_fraction);
  write_counts(json, result.counts);
  write_split(json, result.split);
  write_phases(json, result.phases);
  std::vector<std::string> names;
  for (int b = 0; b < kBounds; ++b) names.emplace_back(bound_name(static_cast<Bound>(b)));
  json.field("bounds", names);
  std::vector<std::int32_t> bounds;
  for (const Bound bound : result.task_bound) bounds.push_back(static_cast<std::int32_t>(bound));
  json.field("task_bound", bounds);
  if (explanation != nullptr) write_explanation(json, *explanation);
  json.end_object();
  return json.finish();
}

}  // namespace espalier::sim
