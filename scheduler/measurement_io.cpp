// run/1: a run on real hardware, on paper.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "scheduler/timeline.h"

namespace espalier::scheduler {
namespace {

using core::JsonView;

constexpr std::array<SpanKind, 4> kKinds = {SpanKind::task, SpanKind::step, SpanKind::launch_gap, SpanKind::barrier};

void write_timeline(core::JsonWriter& w, const Timeline& timeline) {
  w.key("timeline").begin_object().field("lanes", timeline.lanes).key("spans").begin_object();
  const auto column = [&](const char* name, auto get) {
    w.key(name).begin_array();
    for (const Span& span : timeline.spans) w.value(get(span));
    w.end_array();
  };
  column("lane", [](const Span& s) { return s.lane; });
  column("kind", [](const Span& s) { return span_kind_name(s.kind); });
  column("launch", [](const Span& s) { return s.launch.value; });
  column("item", [](const Span& s) { return s.item; });
  column("copy", [](const Span& s) { return s.copy; });
  column("begin_us", [](const Span& s) { return s.begin_us; });
  column("end_us", [](const Span& s) { return s.end_us; });
  w.end_object().end_object();
}

SpanKind read_kind(const JsonView& view) {
  const std::string name = view.string();
  for (const SpanKind kind : kKinds) {
    if (span_kind_name(kind) == name) return kind;
  }
  throw core::bad_input(view.where(), "task, step, launch_gap or barrier", name);
}

void check_span(const JsonView& spans, std::size_t i, const Span& span, const Plan& plan) {
  if (!(std::isfinite(span.end_us) && span.begin_us >= 0 && span.end_us >= span.begin_us)) {
    throw core::bad_input(spans.at("end_us").at(i).where(), "a finite time, not before begin_us",
                          fmt::format("{} after {}", span.end_us, span.begin_us));
  }
  if (span.kind != SpanKind::task && span.kind != SpanKind::step) return;
  const bool task = span.kind == SpanKind::task;
  const auto items = static_cast<std::int32_t>(task ? plan.tasks.size() : plan.steps.size());
  if (span.item < 0 || span.item >= items) {
    throw core::bad_input(spans.at("item").at(i).where(),
                          fmt::format("a {} of the plan, which has {}", span_kind_name(span.kind), items),
                          std::to_string(span.item));
  }
  if (task && span.copy >= plan.tasks[TaskId(span.item)].copies) {
    throw core::bad_input(spans.at("copy").at(i).where(),
                          fmt::format("one of {} copies", plan.tasks[TaskId(span.item)].copies),
                          std::to_string(span.copy));
  }
}

Timeline read_timeline(const JsonView& view, const Plan& plan) {
  view.allow_only({"lanes", "spans"});
  Timeline timeline;
  timeline.lanes = view.at("lanes").strings();
  const JsonView spans = view.at("spans");
  spans.allow_only({"lane", "kind", "launch", "item", "copy", "begin_us", "end_us"});
  const auto last_lane = static_cast<std::int32_t>(timeline.lanes.size()) - 1;
  const auto last_launch = static_cast<std::int32_t>(plan.launches.size()) - 1;
  const std::vector<std::int32_t> lane = spans.at("lane").integers32(0, last_lane),
                                  launch = spans.at("launch").integers32(-1, last_launch);
  const std::vector<std::int32_t> item = spans.at("item").integers32(-1), copy = spans.at("copy").integers32(0);
  const std::vector<double> begin = spans.at("begin_us").numbers(), end = spans.at("end_us").numbers();
  const JsonView kind = spans.at("kind");
  for (const std::size_t size : {launch.size(), item.size(), copy.size(), begin.size(), end.size(), kind.size()}) {
    if (size != lane.size()) {
      throw core::bad_input(spans.where(), fmt::format("columns of {} values, as lane has", lane.size()),
                            std::to_string(size));
    }
  }
  for (std::size_t i = 0; i < lane.size(); ++i) {
    timeline.spans.push_back({lane[i], read_kind(kind.at(i)), LaunchId(launch[i]), item[i], copy[i], begin[i], end[i]});
    check_span(spans, i, timeline.spans.back(), plan);
  }
  std::stable_sort(timeline.spans.begin(), timeline.spans.end(), [](const Span& a, const Span& b) {
    return std::pair(a.begin_us, a.lane) < std::pair(b.begin_us, b.lane);
  });
  return timeline;
}

}  // namespace

double median_us(const Measurement& measurement) {
  std::vector<double> us = measurement.repeats_us;
  if (us.empty()) return 0;
  std::sort(us.begin(), us.end());
  const std::size_t middle = us.size() / 2;
  return us.size() % 2 == 1 ? us[middle] : (us[middle - 1] + us[middle]) / 2;
}

std::string write_measurement(const Measurement& measurement, const Plan& plan) {
  core::JsonWriter w;
  w.begin_object().field("schema", "run/1").field("device", measurement.device).field("backend", measurement.backend);
  w.field("plan", core::hash_text(measurement.plan_hash))
      .field("strategy", plan.provenance.strategy)
      .field("input", plan.forest.name);
  w.field("heads", traces::heads_text(plan.heads))
      .field("median_us", median_us(measurement))
      .field("repeats_us", measurement.repeats_us);
  if (measurement.max_error < 0) {
    w.key("max_error").null();
  } else {
    w.field("max_error", measurement.max_error);
  }
  w.field("environment", measurement.environment);
  if (!measurement.timeline.spans.empty()) write_timeline(w, measurement.timeline);
  w.end_object();
  return w.finish();
}

Measurement read_measurement(std::string_view text, const std::string& file, const Plan& plan) {
  const core::JsonDocument document = core::JsonDocument::parse(text, file);
  const JsonView root = document.root();
  if (root.at("schema").string().starts_with("measurement/")) {
    throw core::bad_input(file, "a run of one plan (run/1), as run --json writes it",
                          "times of a device (measurement/1), which calibrate and validate --from read");
  }
  root.require_schema("run/1");
  root.allow_only({"schema", "device", "backend", "plan", "strategy", "input", "heads", "median_us", "repeats_us",
                   "max_error", "environment", "timeline"});
  Measurement measurement;
  measurement.plan_hash = root.at("plan").hash();
  if (measurement.plan_hash != plan.hash) {
    throw core::bad_input(root.at("plan").where(), fmt::format("a measurement of plan {}", core::hash_text(plan.hash)),
                          core::hash_text(measurement.plan_hash));
  }
  measurement.device = root.at("device").string();
  measurement.backend = root.at("backend").string();
  measurement.repeats_us = root.at("repeats_us").numbers();
  for (std::size_t i = 0; i < measurement.repeats_us.size(); ++i) {
    const double us = measurement.repeats_us[i];
    if (!std::isfinite(us) || us <= 0) {
      throw core::bad_input(root.at("repeats_us").at(i).where(), "a finite time above 0", fmt::format("{}", us));
    }
  }
  if (measurement.repeats_us.empty()) throw core::bad_input(root.at("repeats_us").where(), "at least one time", "none");
  measurement.max_error = root.at("max_error").is_null() ? -1 : root.at("max_error").number(0);
  measurement.environment = root.at("environment").strings();
  if (const auto timeline = root.find("timeline")) measurement.timeline = read_timeline(*timeline, plan);
  measurement.timeline.device = measurement.device;
  measurement.timeline.plan_hash = measurement.plan_hash;
  return measurement;
}

}  // namespace espalier::scheduler
