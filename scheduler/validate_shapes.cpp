// Second stage of the validator: query groups, head intervals, segments and phases are each of a legal shape; and the
// facts that the proofs need. A record with an unsound group or heads is reported here and then left out, so that one
// fault isn't told twice.
#include <algorithm>

#include "scheduler/validate_internal.h"

namespace espalier::scheduler::validation {
namespace {

using enum ViolationClass;

void find_runs(Facts& facts, Report& report) {
  const std::vector<RequestId>& rows = facts.plan.query_rows;
  const auto requests = static_cast<std::int64_t>(facts.plan.forest.request_count());
  facts.increasing_end.resize(rows.size());
  facts.consecutive_end.resize(rows.size());
  for (std::size_t i = rows.size(); i-- > 0;) {
    const bool last = i + 1 == rows.size();
    const auto here = static_cast<std::int32_t>(i) + 1;
    facts.increasing_end[i] = last || rows[i + 1].value <= rows[i].value ? here : facts.increasing_end[i + 1];
    facts.consecutive_end[i] =
        last || rows[i].value < 0 || std::int64_t{rows[i + 1].value} != std::int64_t{rows[i].value} + 1
            ? here
            : facts.consecutive_end[i + 1];
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].value < 0 || rows[i].value >= requests) {
      report.add(query_unknown, "query row {} names request number {} of {}", i, rows[i].value, requests);
    }
  }
}

/// O(1): the group increases, so its ends bound it.
bool check_group(const Facts& facts, std::string_view what, std::size_t i, Interval queries, Report& report) {
  const auto requests = static_cast<std::int64_t>(facts.plan.forest.request_count());
  if (queries.size() == 0) {
    report.add(query_unknown, "{} {} has no queries", what, i);
    return false;
  }
  const auto first = static_cast<std::size_t>(queries.begin);
  const std::int32_t end = facts.increasing_end[first];
  if (end < queries.end) {
    const auto at = static_cast<std::size_t>(end);
    const std::int32_t request = facts.plan.query_rows[at].value;
    const bool named = request >= 0 && request < requests;
    report.add(query_unknown, "{} {}: request {} stands after one that isn't before it, at place {} of its group", what,
               i, named ? request_name(facts.plan, request) : fmt::format("number {}", request), end - queries.begin);
    return false;
  }
  const std::int32_t low = facts.plan.query_rows[first].value;
  const std::int32_t high = facts.plan.query_rows[static_cast<std::size_t>(queries.end - 1)].value;
  return low >= 0 && high < requests;  // otherwise already told by its row
}

bool check_heads(const Facts& facts, std::string_view what, std::size_t i, Interval heads, Report& report) {
  if (heads.begin >= 0 && heads.begin < heads.end && heads.end <= facts.plan.heads.q_heads) return true;
  report.add(head_range, "{} {}: heads [{}, {}) of {}", what, i, heads.begin, heads.end, facts.plan.heads.q_heads);
  return false;
}

/// Interval of `count` from `begin`, kept in range of 32 bits so that garbage can't wrap.
Interval heads_from(std::int64_t begin, std::int64_t count) {
  const std::int64_t low = INT32_MIN, high = INT32_MAX;
  return {static_cast<std::int32_t>(begin), static_cast<std::int32_t>(std::clamp(begin + count, low, high))};
}

/// Every copy's heads share one KV head. The softmax reads no KV and is free of it.
bool check_copies(const Facts& facts, std::size_t i, const Task& task, Report& report) {
  const std::int32_t group = facts.plan.heads.group();
  if (task.kind == TaskKind::softmax) return true;
  if (group % task.head_count == 0 && task.head_begin % task.head_count == 0) return true;
  for (std::int32_t copy = 0; copy < task.copies; ++copy) {
    const std::int32_t begin = task.head_begin + copy * task.head_count;
    if (begin / group != (begin + task.head_count - 1) / group) {
      report.add(head_range, "task {}: heads [{}, {}) of copy {} belong to two KV heads", i, begin,
                 begin + task.head_count, copy);
      return false;
    }
  }
  return true;
}

bool check_task_heads(const Facts& facts, std::size_t i, const Task& task, Report& report) {
  if (task.head_count < 1 || task.copies < 1) {
    report.add(head_range, "task {}: {} copies of {} heads", i, task.copies, task.head_count);
    return false;
  }
  const std::int64_t served = std::int64_t{task.head_count} * task.copies;
  return check_heads(facts, "task", i, heads_from(task.head_begin, served), report) &&
         check_copies(facts, i, task, report);
}

void check_segments(const Facts& facts, Report& report) {
  const Plan& plan = facts.plan;
  for (std::size_t i = 0; i < plan.segments.size(); ++i) {
    const Segment& segment = plan.segments[i];
    const std::int64_t length = plan.forest.tokens[segment.node];
    const std::int64_t end = segment.token_end == kToNodeEnd ? length : segment.token_end;
    if (segment.token_begin < 0 || segment.token_begin > end || end > length) {
      report.add(segment_outside_node, "segment {}: tokens [{}, {}) of node {}, which has {}", i, segment.token_begin,
                 end, node_name(plan, segment.node), length);
    }
  }
}

/// The group increases and the node's readers are an interval, so the ends of the rows decide.
void check_paths(const Facts& facts, std::size_t i, const Task& task, Report& report) {
  const Plan& plan = facts.plan;
  for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
    const Segment& segment = plan.segments[static_cast<std::size_t>(s)];
    if (segment.row_begin == segment.row_end) continue;
    const auto first = static_cast<std::size_t>(task.queries.begin + segment.row_begin);
    const auto last = static_cast<std::size_t>(task.queries.begin + segment.row_end - 1);
    const RequestId low = plan.query_rows[first], high = plan.query_rows[last];
    for (const RequestId request : {low, high}) {
      if (request >= plan.forest.request_begin[segment.node] && request < plan.forest.request_end[segment.node]) {
        continue;
      }
      report.add(segment_foreign_path, "task {}: request {} reads node {}, which isn't on its path", i,
                 request_name(plan, request.value), node_name(plan, segment.node));
      break;
    }
  }
}

void check_tasks(Facts& facts, Report& report) {
  const Plan& plan = facts.plan;
  facts.task_good.assign(plan.tasks.size(), 0);
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const Task& task = plan.tasks.raw()[i];
    if (task.kind == TaskKind::padding) {
      if (task.copies < 1) report.add(head_range, "task {}: {} copies of padding", i, task.copies);
      continue;
    }
    const bool group = check_group(facts, "task", i, task.queries, report);
    const bool heads = check_task_heads(facts, i, task, report);
    facts.task_good[i] = group && heads;
    if (group) check_paths(facts, i, task, report);
  }
}

void check_slots_and_steps(Facts& facts, Report& report) {
  const Plan& plan = facts.plan;
  facts.slot_good.assign(plan.slots.size(), 0);
  for (std::size_t i = 0; i < plan.slots.size(); ++i) {
    const Slot& slot = plan.slots.raw()[i];
    const bool group = check_group(facts, "slot", i, slot.queries, report);
    const bool heads = check_heads(facts, "slot", i, heads_from(slot.head_begin, slot.head_count), report);
    facts.slot_good[i] = group && heads;
  }
  facts.step_good.assign(plan.steps.size(), 0);
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const ReductionStep& step = plan.steps.raw()[i];
    facts.step_good[i] = check_heads(facts, "step", i, heads_from(step.head_begin, step.head_count), report);
  }
}

/// Tasks or steps stand in the phases in increasing order, each in one: `next` is the first that no phase has had.
void place(Interval range, std::int32_t phase, std::vector<std::int32_t>& of, std::int32_t& next, Report& report) {
  if (range.begin != next) {
    report.add(phase_order, "phase {} holds [{}, {}), expected one that begins at {}", phase, range.begin, range.end,
               next);
  }
  for (std::int32_t i = range.begin; i < range.end; ++i) of[static_cast<std::size_t>(i)] = phase;
  next = std::max(next, range.end);
}

void check_phases(Facts& facts, Report& report) {
  const Plan& plan = facts.plan;
  facts.task_phase.assign(plan.tasks.size(), -1);
  facts.step_phase.assign(plan.steps.size(), -1);
  facts.phase_launch.assign(plan.phases.size(), -1);
  facts.barriers.assign(plan.phases.size(), 0);
  std::int32_t next_phase = 0, next_task = 0, next_step = 0;
  for (std::size_t l = 0; l < plan.launches.size(); ++l) {
    const Interval phases = plan.launches.raw()[l].phases;
    if (phases.begin != next_phase) {
      report.add(phase_order, "launch {} holds phases [{}, {}), expected them to begin at {}", l, phases.begin,
                 phases.end, next_phase);
    }
    std::int32_t barriers = 0;
    for (std::int32_t p = phases.begin; p < phases.end; ++p) {
      const Phase& phase = plan.phases[static_cast<std::size_t>(p)];
      barriers += phase.start == PhaseStart::barrier;
      facts.barriers[static_cast<std::size_t>(p)] = barriers;
      facts.phase_launch[static_cast<std::size_t>(p)] = static_cast<std::int32_t>(l);
      if (phase.kind == PhaseKind::tasks) {
        place(phase.range, p, facts.task_phase, next_task, report);
      } else {
        place(phase.range, p, facts.step_phase, next_step, report);
      }
    }
    next_phase = std::max(next_phase, phases.end);
  }
  const auto complete = [&](std::string_view what, std::int32_t next, std::size_t size) {
    if (static_cast<std::size_t>(next) != size) {
      report.add(phase_order, "{} {} of {} stands in no launch", what, next, size);
    }
  };
  complete("phase", next_phase, plan.phases.size());
  complete("task", next_task, plan.tasks.size());
  complete("step", next_step, plan.steps.size());
}

void check_dependencies(const Plan& plan, Report& report) {
  for (std::size_t l = 0; l < plan.launches.size(); ++l) {
    const Interval dependencies = plan.launches.raw()[l].dependencies;
    for (std::int32_t d = dependencies.begin; d < dependencies.end; ++d) {
      const LaunchId before = plan.dependencies[static_cast<std::size_t>(d)];
      if (before.index() >= l) {
        report.add(merge_cycle, "launch {} waits for launch {}, which doesn't come before it", l, before.value);
      }
    }
  }
}

}  // namespace

void check_shapes(Facts& facts, Report& report) {
  find_runs(facts, report);
  check_segments(facts, report);
  check_tasks(facts, report);
  check_slots_and_steps(facts, report);
  check_phases(facts, report);
  check_dependencies(facts.plan, report);
}

}  // namespace espalier::scheduler::validation
