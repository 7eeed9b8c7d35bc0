// Mutators of single records: indices, segments, query groups, heads. Each is one row of a table: class, what is done,
// how.
#include "tests/scheduler/mutators.h"

namespace espalier::scheduler::samples {

using enum ViolationClass;

std::vector<Mutator> index_mutators() {
  const auto i32 = [](std::size_t n) { return static_cast<std::int32_t>(n); };
  return {
      {bad_index, "task segments beyond the column",
       [](Plan& p, Rng& r) {
         return set(p.tasks.raw(), r, &Task::segments, Interval{0, 1 << 30});
       }},
      {bad_index, "task queries inverted",
       [](Plan& p, Rng& r) {
         return set(p.tasks.raw(), r, &Task::queries, Interval{1, 0});
       }},
      {bad_index, "task folds negative",
       [](Plan& p, Rng& r) {
         return set(p.tasks.raw(), r, &Task::folds, Interval{-1, 0});
       }},
      {bad_index, "task slot beyond the column",
       [=](Plan& p, Rng& r) { return set(p.tasks.raw(), r, &Task::slot, SlotId(p.slots.size())); }},
      {bad_index, "task slot below none",
       [](Plan& p, Rng& r) { return set(p.tasks.raw(), r, &Task::slot, SlotId(-2)); }},
      {bad_index, "task of no kind",
       [](Plan& p, Rng& r) { return set(p.tasks.raw(), r, &Task::kind, static_cast<TaskKind>(5)); }},
      {bad_index, "segment of no node",
       [](Plan& p, Rng& r) { return set(p.segments, r, &Segment::node, NodeId(p.forest.node_count())); }},
      {bad_index, "segment rows beyond the group",
       [](Plan& p, Rng& r) {
         const TaskSegment at = any_segment(p, r);
         if (at.task == nullptr) return false;
         at.segment->row_end = at.task->queries.size() + 1;
         return true;
       }},
      {bad_index, "fold of no slot",
       [](Plan& p, Rng& r) {
         SlotId* slot = any(p.fold_slots, r);
         if (slot != nullptr) *slot = SlotId();
         return slot != nullptr;
       }},
      {bad_index, "slot queries beyond the column",
       [=](Plan& p, Rng& r) {
         return set(p.slots.raw(), r, &Slot::queries, Interval{0, i32(p.query_rows.size()) + 1});
       }},
      {bad_index, "merge of no slot",
       [](Plan& p, Rng& r) { return set(p.reduction_inputs, r, &RowRef::slot, SlotId()); }},
      {bad_index, "merge of a negative row",
       [](Plan& p, Rng& r) { return set(p.reduction_inputs, r, &RowRef::row, -1); }},
      {bad_index, "step of no rows", [](Plan& p, Rng& r) { return set(p.steps.raw(), r, &ReductionStep::rows, 0); }},
      {bad_index, "step of absurd rows",
       [](Plan& p, Rng& r) {
         ReductionStep* step = any_step(p, r, [](const ReductionStep& s) { return !s.out.valid(); });
         if (step != nullptr) step->rows = INT32_MAX;
         return step != nullptr;
       }},
      {bad_index, "phase without kernel", [](Plan& p, Rng& r) { return set(p.phases, r, &Phase::kernel, KernelId()); }},
      {bad_index, "phase beyond the tasks",
       [](Plan& p, Rng& r) {
         return set(p.phases, r, &Phase::range, Interval{0, 1 << 30});
       }},
      {bad_index, "launch phases beyond the column",
       [](Plan& p, Rng& r) {
         return set(p.launches.raw(), r, &Launch::phases, Interval{0, 99999});
       }},
      {bad_index, "launch with too many queues",
       [](Plan& p, Rng& r) { return set(p.launches.raw(), r, &Launch::workers, INT32_MAX); }},
      {bad_index, "dependency on no launch",
       [](Plan& p, Rng& r) {
         LaunchId* launch = any(p.dependencies, r);
         if (launch != nullptr) *launch = LaunchId(p.launches.size());
         return launch != nullptr;
       }},
      {bad_index, "queue beyond the items", [](Plan& p, Rng& r) { return set(p.queues, r, &Interval::end, 1 << 30); }},
      {bad_index, "queue item of no task",
       [](Plan& p, Rng& r) { return set(p.queue_items, r, &QueueItem::task, TaskId(p.tasks.size())); }},
      {bad_index, "queue item of no copy",
       [](Plan& p, Rng& r) { return set(p.queue_items, r, &QueueItem::copy, 99999); }},
      {bad_index, "forest with wrong readers",
       [](Plan& p, Rng&) {
         p.forest.request_end[NodeId(0)].value += 1;
         return true;
       }},
      {bad_index, "forest out of order",
       [](Plan& p, Rng&) {
         p.forest.parent.raw().back() = NodeId(p.forest.node_count());
         return true;
       }},
      {bad_index, "forest with an empty node",
       [](Plan& p, Rng&) {
         p.forest.tokens.raw().back() = 0;
         return true;
       }},
      {bad_index, "forest without labels",
       [](Plan& p, Rng&) {
         p.forest.node_label.raw().pop_back();
         return true;
       }},
  };
}

std::vector<Mutator> coverage_mutators() {
  return {
      {uncovered_token, "first token left out",
       [](Plan& p, Rng& r) {
         const TaskSegment at = any_segment(p, r);
         if (at.task == nullptr || segment_tokens(p, *at.segment) < 1) return false;
         at.segment->token_begin += 1;
         return true;
       }},
      {uncovered_token, "last token left out",
       [](Plan& p, Rng& r) {
         const TaskSegment at = any_segment(p, r);
         if (at.task == nullptr || segment_tokens(p, *at.segment) < 1) return false;
         at.segment->token_end = static_cast<std::int32_t>(segment_end(p, *at.segment)) - 1;
         return true;
       }},
      {uncovered_token, "last row doesn't see",
       [](Plan& p, Rng& r) {
         const TaskSegment at = any_segment(p, r);
         if (at.task == nullptr || segment_tokens(p, *at.segment) < 1 || at.segment->row_begin == at.segment->row_end) {
           return false;
         }
         at.segment->row_end -= 1;
         return true;
       }},
      {uncovered_token, "task turned to padding",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, reads_kv);
         if (task == nullptr) return false;
         task->kind = TaskKind::padding;
         return true;
       }},
      {uncovered_token, "last heads left out",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, [](const Task& t) { return reads_kv(t) && t.copies > 1; });
         if (task == nullptr) return false;
         task->copies -= 1;
         return true;
       }},
      {token_covered_twice, "one token more in front",
       [](Plan& p, Rng& r) {
         const TaskSegment at = any_segment(p, r);
         if (at.task == nullptr || at.segment->token_begin < 1) return false;
         at.segment->token_begin -= 1;
         return true;
       }},
      {token_covered_twice, "one token more behind",
       [](Plan& p, Rng& r) {
         const TaskSegment at = any_segment(p, r);
         if (at.task == nullptr || segment_end(p, *at.segment) >= length(p, *at.segment)) return false;
         at.segment->token_end += 1;
         return true;
       }},
      {token_covered_twice, "another task's tokens",
       [](Plan& p, Rng& r) {
         const TaskSegment at = any_segment(p, r);
         if (at.task == nullptr) return false;
         // Its own queries read the whole node once already, in other pieces.
         if (segment_tokens(p, *at.segment) == length(p, *at.segment)) return false;
         at.segment->token_begin = 0;
         at.segment->token_end = kToNodeEnd;
         return true;
       }},
      {token_covered_twice, "attention over what the score chain serves",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, [](const Task& t) { return t.kind == TaskKind::scores; });
         if (task == nullptr) return false;
         task->kind = TaskKind::attend;
         return true;
       }},
      {segment_outside_node, "end beyond the node",
       [](Plan& p, Rng& r) {
         Segment* s = any(p.segments, r);
         s->token_end = static_cast<std::int32_t>(length(p, *s)) + 1;
         return true;
       }},
      {segment_outside_node, "begin before the node",
       [](Plan& p, Rng& r) { return set(p.segments, r, &Segment::token_begin, -1); }},
      {segment_outside_node, "inverted",
       [](Plan& p, Rng& r) {
         Segment* s = any(p.segments, r);
         s->token_end = 0;
         s->token_begin = 1;
         return true;
       }},
      {segment_outside_node, "end below none",
       [](Plan& p, Rng& r) { return set(p.segments, r, &Segment::token_end, -7); }},
      {segment_foreign_path, "node of others",
       [](Plan& p, Rng& r) {
         const TaskSegment at = any_segment(p, r);
         if (at.task == nullptr || at.segment->row_begin == at.segment->row_end) return false;
         const RequestId request =
             p.query_rows[static_cast<std::size_t>(at.task->queries.begin + at.segment->row_begin)];
         for (const NodeId n : core::ids<NodeId>(p.forest.node_count())) {
           if (request >= p.forest.request_begin[n] && request < p.forest.request_end[n]) continue;
           at.segment->node = n;
           at.segment->token_begin = 0;
           at.segment->token_end = kToNodeEnd;
           return true;
         }
         return false;
       }},
      {segment_foreign_path, "rows of others",
       [](Plan& p, Rng& r) {
         const TaskSegment at = any_segment(p, r);
         if (at.task == nullptr) return false;
         const NodeId n = at.segment->node;
         const RequestId last = p.query_rows[static_cast<std::size_t>(at.task->queries.end - 1)];
         if (last < p.forest.request_end[n]) return false;
         at.segment->row_end = at.task->queries.size();
         return true;
       }},
      {query_unknown, "a request that doesn't exist",
       [](Plan& p, Rng& r) {
         *any(p.query_rows, r) = RequestId(p.forest.request_count());
         return true;
       }},
      {query_unknown, "a negative request",
       [](Plan& p, Rng& r) {
         *any(p.query_rows, r) = RequestId();
         return true;
       }},
      {query_unknown, "a request twice",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r,
                                [](const Task& t) { return t.kind != TaskKind::padding && t.queries.size() > 1; });
         if (task == nullptr) return false;
         const auto at = static_cast<std::size_t>(task->queries.begin);
         p.query_rows[at + 1] = p.query_rows[at];
         return true;
       }},
      {query_unknown, "requests out of order",
       [](Plan& p, Rng& r) {
         Slot* slot = any_where(p.slots.raw(), r, [](const Slot& s) { return s.queries.size() > 1; });
         if (slot == nullptr) return false;
         const auto at = static_cast<std::size_t>(slot->queries.begin);
         std::swap(p.query_rows[at], p.query_rows[at + 1]);
         return true;
       }},
      {query_unknown, "nobody",
       [](Plan& p, Rng& r) {
         return set(p.slots.raw(), r, &Slot::queries, Interval{0, 0});
       }},
  };
}

std::vector<Mutator> head_mutators() {
  return {
      {head_range, "a copy too many",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, [&](const Task& t) {
           return t.kind != TaskKind::padding && t.head_begin + t.head_count * t.copies == p.heads.q_heads;
         });
         if (task == nullptr) return false;
         task->copies += 1;
         return true;
       }},
      {head_range, "no copy", [](Plan& p, Rng& r) { return set(p.tasks.raw(), r, &Task::copies, 0); }},
      {head_range, "absurd copies",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, [](const Task& t) { return t.kind != TaskKind::padding; });
         task->copies = task->head_count = INT32_MAX;
         return true;
       }},
      {head_range, "two KV heads in one copy",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, [&](const Task& t) { return reads_kv(t) && p.heads.kv_heads > 1; });
         if (task == nullptr) return false;
         task->head_begin = p.heads.group() - 1;
         task->head_count = 2;
         task->copies = 1;
         return true;
       }},
      {head_range, "a slot of too many heads",
       [](Plan& p, Rng& r) { return set(p.slots.raw(), r, &Slot::head_count, p.heads.q_heads + 1); }},
      {head_range, "a step of negative heads",
       [](Plan& p, Rng& r) { return set(p.steps.raw(), r, &ReductionStep::head_begin, -1); }},
      {head_range, "a step of no heads",
       [](Plan& p, Rng& r) { return set(p.steps.raw(), r, &ReductionStep::head_count, 0); }},
      {head_range, "heads that don't divide",
       [](Plan& p, Rng&) {
         p.heads.kv_heads = p.heads.q_heads + 1;
         return true;
       }},
  };
}

}  // namespace espalier::scheduler::samples
