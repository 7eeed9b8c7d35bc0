// What is known of a node, request, task or merge, in names and values.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/hash.h"
#include "core/json.h"
#include "core/text.h"
#include "viz/explore/queue_edit.h"
#include "viz/explore/views.h"
#include "viz/model/axis.h"
#include "viz/model/sharing.h"

namespace espalier::viz {
namespace {

using scheduler::StepId;
using scheduler::TaskId;
using traces::NodeId;
using traces::RequestId;

std::string run_of(std::int32_t begin, std::int32_t end) {
  return end - begin == 1 ? fmt::format("{}", begin) : fmt::format("{}–{}", begin, end - 1);
}

/// Begin and end of all copies of an item.
Span1 when(const SideOutcome& side, scheduler::SpanKind kind, std::int32_t index) {
  Span1 found{1e300, 0};
  for (const scheduler::Span& span : side.explanation.result.timeline.spans) {
    if (span.kind != kind || span.item != index) continue;
    found.begin = std::min(found.begin, span.begin_us);
    found.end = std::max(found.end, span.end_us);
  }
  return found;
}

void add_when(Facts& facts, const Span1& span) {
  if (span.end <= 0) return;
  facts.facts.push_back(
      {"runs", fmt::format("{:.2f}–{:.2f} µs ({})", span.begin, span.end, value_text(span.size(), Unit::time_us))});
}

Facts node_facts(const Outcome& outcome, const SideOutcome& side, NodeId n) {
  const traces::PrefixForest& forest = *outcome.forest;
  const std::int64_t bytes = outcome.forest_index.bytes_per_token;
  const double saved = bytes_saved(forest, n, bytes);
  Facts facts{fmt::format("Node {}", n.value), {}};
  facts.facts.push_back({"tokens", core::count_text(forest.tokens[n])});
  facts.facts.push_back({"KV a layer", value_text(static_cast<double>(forest.tokens[n] * bytes), Unit::bytes)});
  facts.facts.push_back({"requests", fmt::format("{} ({})", forest.readers(n),
                                                 run_of(forest.request_begin[n].value, forest.request_end[n].value))});
  facts.facts.push_back({"sharing saves", saved > 0 ? value_text(saved, Unit::bytes) : "nothing"});
  facts.facts.push_back(
      {"parent", forest.is_root(n) ? "none: a root" : fmt::format("node {}", forest.parent[n].value)});
  if (side.shown()) {
    facts.facts.push_back(
        {"read by", core::counted(static_cast<std::int64_t>(side.links.tasks_of_node.of(n.value).size()), "task")});
  }
  return facts;
}

Facts request_facts(const Outcome& outcome, const SideOutcome& side, RequestId r) {
  const traces::PrefixForest& forest = *outcome.forest;
  Facts facts{fmt::format("Request {}", r.value), {}};
  facts.facts.push_back({"label", forest.request_label[r]});
  facts.facts.push_back({"context", fmt::format("{} tokens", core::count_text(forest.context_tokens(r)))});
  facts.facts.push_back({"of its own", fmt::format("{} tokens", core::count_text(forest.readers(forest.leaf[r]) == 1
                                                                                     ? forest.tokens[forest.leaf[r]]
                                                                                     : 0))});
  facts.facts.push_back({"ends at", fmt::format("node {}", forest.leaf[r].value)});
  if (side.shown()) {
    facts.facts.push_back(
        {"served by",
         core::counted(static_cast<std::int64_t>(side.links.tasks_of_request.of(r.value).size()), "task")});
    facts.facts.push_back({"merges", fmt::format("{}", side.links.merges_of_request.of(r.value).size())});
  }
  return facts;
}

/// "17, 43, 69, 5 more".
std::string queues_text(const scheduler::Plan& plan, TaskId id) {
  constexpr std::size_t kMost = 3;
  if (plan.queues.empty()) return "none: in launch order";
  std::vector<std::string> texts;
  const std::vector<std::int32_t> queues = queues_of(plan, id.value);
  for (std::size_t i = 0; i < queues.size(); ++i) {
    if (i == kMost && queues.size() > kMost + 1) {
      texts.push_back(fmt::format("{} more", queues.size() - kMost));
      break;
    }
    texts.push_back(queues[i] < 0 ? "–" : std::to_string(queues[i]));
  }
  return core::join(texts, ", ");
}

Facts task_facts(const SideOutcome& side, TaskId id) {
  const scheduler::Plan& plan = *side.plan;
  const scheduler::Task& task = plan.tasks[id];
  const scheduler::KernelId kernel = scheduler::task_kernels(plan)[id];
  std::int64_t tokens = 0;
  for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
    tokens += scheduler::segment_tokens(plan, plan.segments[static_cast<std::size_t>(s)]);
  }
  Facts facts{fmt::format("Task {}", id.value), {}};
  const std::string pieces = task.segments.size() == 1 ? "" : fmt::format(" in {} pieces", task.segments.size());
  facts.facts.push_back({"reads", core::counted(tokens, "token") + pieces});
  facts.facts.push_back(
      {"KV a copy", value_text(static_cast<double>(tokens * plan.heads.kv_bytes_per_token_head()), Unit::bytes)});
  facts.facts.push_back(
      {"serves", task.queries.size() == 1 ? std::string("one query") : fmt::format("{} queries", task.queries.size())});
  facts.facts.push_back({"copies", fmt::format("{} × {} heads", task.copies, task.head_count)});
  facts.facts.push_back({"queues", queues_text(plan, id)});
  facts.facts.push_back({"writes", task.slot.valid() ? "partial rows" : "final rows"});
  if (kernel.valid()) facts.facts.push_back({"kernel", plan.kernels[kernel].name});
  facts.facts.push_back({"limited by", std::string(sim::bound_name(side.explanation.result.task_bound[id.index()]))});
  add_when(facts, when(side, scheduler::SpanKind::task, id.value));
  return facts;
}

Facts merge_facts(const SideOutcome& side, StepId id) {
  const scheduler::ReductionStep& step = side.plan->steps[id];
  Facts facts{fmt::format("Merge {}", id.value), {}};
  facts.facts.push_back({"inputs", fmt::format("{}", step.inputs.size())});
  facts.facts.push_back({"rows", fmt::format("{} × {} heads", step.rows, step.head_count)});
  facts.facts.push_back({"writes", step.out.valid() ? "partial rows" : "final rows"});
  add_when(facts, when(side, scheduler::SpanKind::step, id.value));
  return facts;
}

}  // namespace

Facts facts_of(const Outcome& outcome, SideId id, Item item) {
  const SideOutcome& side = outcome.side(id);
  const auto index = static_cast<std::size_t>(std::max(0, item.index));
  if (outcome.forest == nullptr || item.index < 0) return {};
  if (item.kind == ItemKind::node && index < outcome.forest->node_count()) {
    return node_facts(outcome, side, NodeId(item.index));
  }
  if (item.kind == ItemKind::request && index < outcome.forest->request_count()) {
    return request_facts(outcome, side, RequestId(item.index));
  }
  if (!side.shown()) return {};
  if (item.kind == ItemKind::task && index < side.plan->tasks.size()) return task_facts(side, TaskId(item.index));
  if (item.kind == ItemKind::merge && index < side.plan->steps.size()) return merge_facts(side, StepId(item.index));
  return {};
}

Facts brush_facts(const Outcome& outcome, const Brush& brush) {
  const SideOutcome& side = outcome.side(brush.side);
  if (!side.shown()) return {};
  const Linked all = brushed(side, brush);
  std::int64_t copies = 0;
  double kv_bytes = 0, flops = 0;
  for (const std::int32_t t : all.tasks) {
    const auto n = side.plan->tasks[TaskId(t)].copies;
    copies += n;
    kv_bytes += n * side.work[static_cast<std::size_t>(t)].kv_bytes;
    flops += n * side.work[static_cast<std::size_t>(t)].flops;
  }
  Facts facts{fmt::format("{} of {}", core::counted(static_cast<std::int64_t>(all.tasks.size()), "task"), side.title),
              {}};
  facts.facts.push_back({"intensity", fmt::format("{:.4g}–{:.4g} FLOP/B", brush.intensity.begin, brush.intensity.end)});
  facts.facts.push_back({"rate", fmt::format("{:.4g}–{:.4g} GFLOP/s", brush.rate.begin, brush.rate.end)});
  facts.facts.push_back({"copies", core::count_text(copies)});
  facts.facts.push_back({"KV read", value_text(kv_bytes, Unit::bytes)});
  facts.facts.push_back({"computes", fmt::format("{:.3g} GFLOP", flops / 1e9)});
  facts.facts.push_back({"nodes", core::count_text(static_cast<std::int64_t>(all.nodes.size()))});
  facts.facts.push_back({"requests", core::count_text(static_cast<std::int64_t>(all.requests.size()))});
  return facts;
}

std::string facts_json(const Outcome& outcome, SideId id, Item item) {
  core::JsonWriter out;
  const SideOutcome& side = outcome.side(id);
  out.begin_object().field("kind", item_kind_name(item.kind)).field("id", item.index);
  if (side.shown()) {
    out.field("side", side_name(id))
        .field("strategy", side.title)
        .field("device", side.device.name)
        .field("plan", core::hash_text(side.plan->hash));
  }
  for (const Fact& fact : facts_of(outcome, id, item).facts) out.field(fact.name, fact.value);
  out.end_object();
  return out.finish();
}

}  // namespace espalier::viz
