// Mutators of slots, their writers and their readers.
#include "tests/scheduler/mutators.h"

namespace espalier::scheduler::samples {

using enum ViolationClass;

std::vector<Mutator> slot_mutators() {
  return {
      {slot_written_twice, "two tasks, one slot",
       [](Plan& p, Rng& r) {
         Task* a = any_where(p.tasks.raw(), r, [](const Task& t) { return t.slot.valid(); });
         if (a == nullptr) return false;
         Task* b = any_where(p.tasks.raw(), r, [&](const Task& t) {
           return t.slot.valid() && &t != a && t.queries == a->queries && t.head_begin == a->head_begin;
         });
         if (b == nullptr) return false;
         a->slot = b->slot;
         return true;
       }},
      {slot_written_twice, "a step over a task's slot",
       [](Plan& p, Rng& r) {
         ReductionStep* step = any_step(p, r, [](const ReductionStep& s) { return s.inputs.size() > 0; });
         if (step == nullptr) return false;
         const RowRef from = *input_of(p, *step, 0);
         step->out = from.slot;
         step->out_row = from.row;
         return true;
       }},
      {slot_never_written, "rows past the slot",
       [](Plan& p, Rng& r) {
         Task* task =
             any_where(p.tasks.raw(), r, [](const Task& t) { return t.slot.valid() && t.kind != TaskKind::scores; });
         if (task == nullptr) return false;
         task->slot = SlotId();
         return true;
       }},
      {slot_never_written, "a writer that is padding",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, [](const Task& t) { return t.slot.valid(); });
         if (task == nullptr) return false;
         task->kind = TaskKind::padding;
         return true;
       }},
      {slot_never_written, "heads nobody writes",
       [](Plan& p, Rng& r) {
         Slot* slot =
             any_where(p.slots.raw(), r, [&](const Slot& s) { return s.head_begin + s.head_count < p.heads.q_heads; });
         if (slot == nullptr) return false;
         slot->head_count += 1;
         return true;
       }},
      {slot_never_merged, "an input left out",
       [](Plan& p, Rng& r) {
         ReductionStep* step = any_step(p, r);
         if (step == nullptr) return false;
         step->inputs.end -= 1;
         return true;
       }},
      {slot_never_merged, "a row less",
       [](Plan& p, Rng& r) {
         ReductionStep* step = any_step(p, r, [](const ReductionStep& s) { return s.rows > 1; });
         if (step == nullptr) return false;
         step->rows -= 1;
         return true;
       }},
      {slot_never_merged, "a fold left out",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r,
                                [](const Task& t) { return t.folds.size() > 0 && t.kind != TaskKind::values; });
         if (task == nullptr) return false;
         task->folds.end -= 1;
         return true;
       }},
      {slot_never_merged, "a head less",
       [](Plan& p, Rng& r) {
         ReductionStep* step = any_step(p, r);
         if (step == nullptr) return false;
         step->head_count -= 1;
         return step->head_count > 0;
       }},
      {slot_merged_twice, "an input twice",
       [](Plan& p, Rng& r) {
         ReductionStep* step = any_step(p, r, [](const ReductionStep& s) { return s.inputs.size() > 1; });
         if (step == nullptr) return false;
         *input_of(p, *step, 1) = *input_of(p, *step, 0);
         return true;
       }},
      {slot_merged_twice, "a fold twice",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r,
                                [](const Task& t) { return t.folds.size() > 1 && t.kind != TaskKind::values; });
         if (task == nullptr) return false;
         const auto at = static_cast<std::size_t>(task->folds.begin);
         p.fold_slots[at + 1] = p.fold_slots[at];
         return true;
       }},
      {slot_merged_twice, "two softmaxes of one row",
       [](Plan& p, Rng& r) {
         const auto softmax = [](const Task& t) { return t.kind == TaskKind::softmax; };
         Task* a = any_where(p.tasks.raw(), r, softmax);
         if (a == nullptr) return false;
         Task* b = any_where(p.tasks.raw(), r, [&](const Task& t) { return softmax(t) && &t != a; });
         if (b == nullptr) return false;
         a->queries = b->queries;
         a->folds = b->folds;
         return true;
       }},
      {slot_merged_twice, "a row normalised in two halves",
       [](Plan& p, Rng& r) {
         Task* a = any_where(p.tasks.raw(), r,
                             [](const Task& t) { return t.kind == TaskKind::softmax && t.folds.size() > 1; });
         if (a == nullptr) return false;
         Task* b = any_where(p.tasks.raw(), r, [&](const Task& t) { return t.kind == TaskKind::softmax && &t != a; });
         if (b == nullptr) return false;
         b->queries = a->queries;
         b->folds = {a->folds.end - 1, a->folds.end};
         a->folds.end -= 1;
         return true;
       }},
  };
}

std::vector<Mutator> mismatch_mutators() {
  const auto partial = [](const Slot& s) { return s.kind == SlotKind::partial; };
  const auto scores = [](const Slot& s) { return s.kind == SlotKind::scores; };
  // A kernel of its own for the phase, of another partial type.
  const auto retype = [](Plan& p, Phase* phase) {
    if (phase == nullptr) return false;
    costmodel::KernelConfig kernel = p.kernels[phase->kernel];
    kernel.name += "-fp16";
    kernel.partial_dtype = traces::Dtype::fp16;
    phase->kernel = p.kernels.push_back(kernel);
    return true;
  };
  return {
      {slot_mismatch, "steps of a kernel for another type",
       [=](Plan& p, Rng& r) {
         return retype(p, any_where(p.phases, r,
                                    [](const Phase& f) { return f.kind == PhaseKind::steps && f.range.size() > 0; }));
       }},
      {slot_mismatch, "folds into a kernel for another type",
       [=](Plan& p, Rng& r) {
         return retype(p, any_where(p.phases, r, [&](const Phase& f) {
                         if (f.kind != PhaseKind::tasks) return false;
                         // Tasks without a slot of their own: only the folded slots give it away.
                         bool folds = false;
                         for (TaskId t(f.range.begin); t.value < f.range.end; ++t.value) {
                           const Task& task = p.tasks[t];
                           if (task.kind != TaskKind::attend || task.slot.valid()) return false;
                           folds = folds || task.folds.size() > 0;
                         }
                         return folds;
                       }));
       }},
      {slot_mismatch, "a column more",
       [=](Plan& p, Rng& r) {
         Slot* slot = any_where(p.slots.raw(), r, partial);
         if (slot != nullptr) slot->columns += 1;
         return slot != nullptr;
       }},
      {slot_mismatch, "a score column less",
       [=](Plan& p, Rng& r) {
         Slot* slot = any_where(p.slots.raw(), r, scores);
         if (slot != nullptr) slot->columns -= 1;
         return slot != nullptr;
       }},
      {slot_mismatch, "another type",
       [=](Plan& p, Rng& r) {
         Slot* slot = any_where(p.slots.raw(), r, partial);
         if (slot != nullptr) slot->dtype = traces::Dtype::bf16;
         return slot != nullptr;
       }},
      {slot_mismatch, "scores where partials belong",
       [=](Plan& p, Rng& r) {
         Slot* slot = any_where(p.slots.raw(), r, partial);
         if (slot != nullptr) slot->kind = SlotKind::scores;
         return slot != nullptr;
       }},
      {slot_mismatch, "partials where scores belong",
       [=](Plan& p, Rng& r) {
         Slot* slot = any_where(p.slots.raw(), r, scores);
         if (slot != nullptr) slot->kind = SlotKind::partial;
         return slot != nullptr;
       }},
      {slot_mismatch, "merged by the other rule",
       [](Plan& p, Rng& r) {
         ReductionStep* step = any_step(p, r);
         if (step == nullptr) return false;
         step->op = step->op == ReductionOp::sum ? ReductionOp::log_sum_exp : ReductionOp::sum;
         return true;
       }},
      {slot_mismatch, "a step that merges nothing",
       [](Plan& p, Rng& r) {
         ReductionStep* step = any_step(p, r);
         if (step == nullptr) return false;
         step->inputs.end = step->inputs.begin;
         return true;
       }},
      {slot_mismatch, "a row past the slot",
       [](Plan& p, Rng& r) {
         RowRef* input = any(p.reduction_inputs, r);
         if (input == nullptr) return false;
         input->row = p.slots[input->slot].queries.size();
         return true;
       }},
      {slot_mismatch, "a slot of fewer heads",
       [](Plan& p, Rng& r) {
         Slot* slot = any_where(p.slots.raw(), r, [](const Slot& s) { return s.head_count > 1; });
         if (slot == nullptr) return false;
         slot->head_count -= 1;
         return true;
       }},
      {slot_mismatch, "a slot of fewer queries",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, [](const Task& t) { return t.slot.valid() && t.queries.size() > 1; });
         if (task == nullptr) return false;
         p.slots[task->slot].queries.end -= 1;
         return true;
       }},
      {slot_mismatch, "scores without a slot",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, [](const Task& t) { return t.kind == TaskKind::scores; });
         if (task != nullptr) task->slot = SlotId();
         return task != nullptr;
       }},
      {slot_mismatch, "a softmax that writes elsewhere",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, [](const Task& t) { return t.kind == TaskKind::softmax; });
         if (task != nullptr) task->slot = SlotId(0);
         return task != nullptr;
       }},
      {slot_mismatch, "values without their scores",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, [](const Task& t) { return t.kind == TaskKind::values; });
         if (task == nullptr) return false;
         task->folds.end -= 1;
         return true;
       }},
      {slot_mismatch, "values with their scores twice",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r,
                                [](const Task& t) { return t.kind == TaskKind::values && t.folds.size() > 1; });
         if (task == nullptr) return false;
         const auto at = static_cast<std::size_t>(task->folds.begin);
         p.fold_slots[at + 1] = p.fold_slots[at];
         return true;
       }},
      {merge_row_mismatch, "another request's row",
       [](Plan& p, Rng& r) {
         ReductionStep* step = any_step(p, r, [&](const ReductionStep& s) {
           return s.rows == 1 && p.slots[input_of(p, s, 0)->slot].queries.size() > 1;
         });
         if (step == nullptr) return false;
         RowRef* input = input_of(p, *step, 0);
         input->row = input->row == 0 ? 1 : 0;
         return true;
       }},
      {merge_row_mismatch, "into another request's final row", take_final_row_of_another},
      {merge_row_mismatch, "a fold of others",
       [](Plan& p, Rng& r) {
         Task* task =
             any_where(p.tasks.raw(), r, [](const Task& t) { return t.folds.size() > 0 && t.queries.size() == 1; });
         if (task == nullptr) return false;
         const RequestId own = first_request(p, task->queries);
         SlotId& fold = p.fold_slots[static_cast<std::size_t>(task->folds.begin)];
         for (const SlotId s : core::ids<SlotId>(p.slots.size())) {
           const Interval q = p.slots[s].queries;
           const bool has = std::count(p.query_rows.begin() + q.begin, p.query_rows.begin() + q.end, own) > 0;
           if (has || p.slots[s].kind != p.slots[fold].kind) continue;
           fold = s;
           return true;
         }
         return false;
       }},
  };
}

}  // namespace espalier::scheduler::samples
