// Timelines for people: the trace-event JSON that Perfetto reads.
#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <set>

#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "scheduler/trace_events.h"

namespace espalier::scheduler {
namespace {

using core::JsonWriter;

// Process numbers of the trace: Perfetto sorts by them.
constexpr std::int32_t kLaunchProcess = 1;
constexpr std::int32_t kDeviceProcess = 2;
constexpr std::int32_t kProcesses = 2;  ///< of a run

void metadata(JsonWriter& out, std::string_view kind, std::int32_t process, std::int64_t thread,
              std::string_view name) {
  out.begin_object().field("ph", "M").field("name", kind).field("pid", process).field("tid", thread);
  out.key("args").begin_object().field("name", name).end_object().end_object();
}

/// Opens a complete event and its args; close_event() ends both.
struct Event {
  std::string name;
  std::string_view category;
  std::int32_t process;
  std::int64_t thread;
  double begin_us, end_us;
};
JsonWriter& open_event(JsonWriter& out, const Event& event) {
  out.begin_object().field("ph", "X").field("name", event.name).field("cat", event.category);
  out.field("pid", event.process).field("tid", event.thread);
  out.field("ts", event.begin_us).field("dur", event.end_us - event.begin_us);
  return out.key("args").begin_object();
}
void close_event(JsonWriter& out) { out.end_object().end_object(); }

std::string nodes_text(const Plan& plan, const Task& task) {
  if (task.segments.size() == 0) return "";
  const Segment& first = plan.segments[static_cast<std::size_t>(task.segments.begin)];
  const std::string node = fmt::format(" node {}", plan.forest.node_label[first.node]);
  return task.segments.size() == 1 ? node : fmt::format("{} +{}", node, task.segments.size() - 1);
}

std::string span_name(const Plan& plan, const Span& span) {
  if (span.kind == SpanKind::task && span.item >= 0) {
    const Task& task = plan.tasks[TaskId(span.item)];
    return std::string(kind_name(task.kind)) + nodes_text(plan, task);
  }
  if (span.kind == SpanKind::step && span.item >= 0) {
    return fmt::format("merge {}", plan.steps[StepId(span.item)].inputs.size());
  }
  return std::string(span_kind_name(span.kind));
}

void task_args(JsonWriter& out, const Plan& plan, const Span& span) {
  const Task& task = plan.tasks[TaskId(span.item)];
  const auto shape = task_shape(plan, task);
  out.field("task", span.item).field("copy", span.copy).field("queries", shape.queries);
  out.field("head_begin", task.head_begin + span.copy * task.head_count).field("heads", task.head_count);
  out.field("segments", shape.segments).field("kv_tokens", shape.kv_tokens);
  out.field("output", task.slot.valid() ? fmt::format("slot {}", task.slot.value) : std::string("final rows"));
}

void step_args(JsonWriter& out, const Plan& plan, const Span& span) {
  const ReductionStep& step = plan.steps[StepId(span.item)];
  out.field("step", span.item)
      .field("inputs", step.inputs.size())
      .field("rows", step.rows)
      .field("heads", step.head_count);
  out.field("output", step.out.valid() ? fmt::format("slot {}", step.out.value) : std::string("final rows"));
}

void write_span(JsonWriter& out, const Plan& plan, const Span& span, std::int32_t before) {
  open_event(out, {span_name(plan, span), span_kind_name(span.kind), before + kDeviceProcess, span.lane, span.begin_us,
                   span.end_us});
  if (span.launch.valid()) out.field("launch", span.launch.value);
  if (span.kind == SpanKind::task && span.item >= 0) task_args(out, plan, span);
  if (span.kind == SpanKind::step && span.item >= 0) step_args(out, plan, span);
  close_event(out);
}

std::string process_name(const TracedRun& run, std::string_view what) {
  return run.name.empty() ? std::string(what) : fmt::format("{}: {}", run.name, what);
}

/// One event a launch on a thread a stream: from its first span to the end of its last.
void write_launches(JsonWriter& out, const TracedRun& run, std::int32_t before) {
  const Timeline& timeline = *run.timeline;
  const Plan& plan = *run.plan;
  struct Extent {
    double begin = std::numeric_limits<double>::infinity(), end = 0;
    std::int64_t spans = 0;
  };
  core::Column<LaunchId, Extent> extents(plan.launches.size());
  for (const Span& span : timeline.spans) {
    if (!span.launch.valid() || span.kind == SpanKind::launch_gap) continue;
    Extent& extent = extents[span.launch];
    extent.begin = std::min(extent.begin, span.begin_us);
    extent.end = std::max(extent.end, span.end_us);
    ++extent.spans;
  }
  std::set<std::int32_t> streams;
  for (const Launch& launch : plan.launches) streams.insert(launch.stream);
  metadata(out, "process_name", before + kLaunchProcess, 0, process_name(run, "launches"));
  for (const std::int32_t stream : streams) {
    metadata(out, "thread_name", before + kLaunchProcess, stream, fmt::format("stream {}", stream));
  }
  for (const LaunchId l : core::ids<LaunchId>(plan.launches.size())) {
    const Extent& extent = extents[l];
    if (extent.spans == 0) continue;
    const Launch& launch = plan.launches[l];
    std::string name = fmt::format("launch {}", l.value);
    if (launch.phases.size() > 0) {
      name += " " + plan.kernels[plan.phases[static_cast<std::size_t>(launch.phases.begin)].kernel].name;
    }
    open_event(out, {name, "launch", before + kLaunchProcess, launch.stream, extent.begin, extent.end});
    out.field("spans", extent.spans).field("phases", launch.phases.size()).field("workers", launch.workers);
    close_event(out);
  }
}

void write_counter(JsonWriter& out, const CounterSeries& series, std::int32_t before) {
  ESPALIER_CHECK_OP(series.time_us.size(), ==, series.value.size());
  const std::string name = fmt::format("{} ({})", series.name, series.unit);
  for (std::size_t i = 0; i < series.time_us.size(); ++i) {
    out.begin_object()
        .field("ph", "C")
        .field("name", name)
        .field("pid", before + kDeviceProcess)
        .field("ts", series.time_us[i]);
    out.key("args").begin_object().field(series.unit, series.value[i]).end_object().end_object();
  }
}

void write_run(JsonWriter& out, const TracedRun& run, std::int32_t before) {
  const Timeline& timeline = *run.timeline;
  const std::int32_t process = before + kDeviceProcess;
  metadata(out, "process_name", process, 0, process_name(run, timeline.device));
  for (std::size_t lane = 0; lane < timeline.lanes.size(); ++lane) {
    const auto thread = static_cast<std::int64_t>(lane);
    metadata(out, "thread_name", process, thread, timeline.lanes[lane]);
    out.begin_object().field("ph", "M").field("name", "thread_sort_index").field("pid", process).field("tid", thread);
    out.key("args").begin_object().field("sort_index", thread).end_object().end_object();
  }
  write_launches(out, run, before);
  for (const Span& span : timeline.spans) write_span(out, *run.plan, span, before);
  for (const CounterSeries& series : timeline.counters) write_counter(out, series, before);
}

void write_origin(JsonWriter& out, const TracedRun& run) {
  out.begin_object();
  out.field("device", run.timeline->device).field("plan_hash", core::hash_text(run.timeline->plan_hash));
  out.field("strategy", run.plan->provenance.strategy).field("forest", run.plan->forest.name).end_object();
}

}  // namespace

std::string_view span_kind_name(SpanKind kind) {
  switch (kind) {
    case SpanKind::task:
      return "task";
    case SpanKind::step:
      return "step";
    case SpanKind::launch_gap:
      return "launch_gap";
    case SpanKind::barrier:
      return "barrier";
  }
  core::fail_check(__FILE__, __LINE__, "known span kind", std::to_string(static_cast<int>(kind)));
}

std::string write_trace_events(const Timeline& timeline, const Plan& plan) {
  const TracedRun run{{}, &timeline, &plan};
  return write_trace_events(std::span(&run, 1));
}

std::string write_trace_events(std::span<const TracedRun> runs) {
  for (const TracedRun& run : runs) {
    ESPALIER_CHECK_OP(run.timeline->plan_hash, ==, run.plan->hash);  // spans index the plan's tasks and steps
  }
  JsonWriter out;
  out.begin_object().field("displayTimeUnit", "ns").key("otherData");
  if (runs.size() == 1) {
    write_origin(out, runs.front());
  } else {
    out.begin_object().key("runs").begin_array();
    for (const TracedRun& run : runs) write_origin(out, run);
    out.end_array().end_object();
  }
  out.key("traceEvents").begin_array();
  for (std::size_t i = 0; i < runs.size(); ++i) write_run(out, runs[i], static_cast<std::int32_t>(i) * kProcesses);
  out.end_array().end_object();
  return out.finish();
}

}  // namespace espalier::scheduler
