// Mutators of order, kernels, queues, storage, memory and the hash.
#include "tests/scheduler/mutators.h"
#include "tests/scheduler/sample_plans.h"

namespace espalier::scheduler::samples {

using enum ViolationClass;

std::vector<Mutator> order_mutators() {
  const auto start = [](PhaseStart from, PhaseStart to) {
    return [=](Plan& p, Rng& r) {
      Phase* phase = any_where(p.phases, r, [&](const Phase& f) { return f.start == from; });
      if (phase != nullptr) phase->start = to;
      return phase != nullptr;
    };
  };
  return {
      {merge_cycle, "no dependency, on a stream of its own",
       [](Plan& p, Rng& r) {
         Launch* launch = any_where(p.launches.raw(), r, [](const Launch& l) { return l.dependencies.size() > 0; });
         // The attention half of a mixed plan, and a second tree's scores, need nothing from the launches before them.
         if (launch == nullptr || p.provenance.strategy == "mixed" ||
             (p.provenance.strategy == "two_gemm" && p.launches.size() > 4)) {
           return false;
         }
         launch->dependencies.end = launch->dependencies.begin;
         launch->stream = 1000;
         return true;
       }},
      {merge_cycle, "no barrier", start(PhaseStart::barrier, PhaseStart::together)},
      {merge_cycle, "no arrival", start(PhaseStart::on_arrival, PhaseStart::together)},
      {merge_cycle, "a barrier in place of arrival for steps that need one another",
       [](Plan& p, Rng& r) {
         const bool chained =
             std::any_of(p.steps.begin(), p.steps.end(), [](const ReductionStep& s) { return s.out.valid(); });
         Phase* phase = any_where(p.phases, r, [](const Phase& f) { return f.start == PhaseStart::on_arrival; });
         if (!chained || phase == nullptr) return false;
         phase->start = PhaseStart::barrier;
         return true;
       }},
      {merge_cycle, "a launch that waits for itself",
       [](Plan& p, Rng& r) {
         Launch* launch = any_where(p.launches.raw(), r, [](const Launch& l) { return l.dependencies.size() > 0; });
         if (launch == nullptr) return false;
         p.dependencies[static_cast<std::size_t>(launch->dependencies.begin)] =
             LaunchId(static_cast<std::int32_t>(launch - p.launches.raw().data()));
         return true;
       }},
      {merge_cycle, "steps in a circle",
       [](Plan& p, Rng& r) {
         if (p.provenance.strategy != "arrival") return false;
         // b takes what a writes; let a take what b writes.
         ReductionStep* b = any_step(p, r, [&](const ReductionStep& s) {
           return s.out.valid() && std::any_of(p.steps.begin(), p.steps.end(), [&](const ReductionStep& a) {
                    return a.out.valid() && (a.out == input_of(p, s, 0)->slot || a.out == input_of(p, s, 1)->slot);
                  });
         });
         if (b == nullptr) return false;
         ReductionStep* a = any_step(p, r, [&](const ReductionStep& s) {
           return s.out.valid() && (s.out == input_of(p, *b, 0)->slot || s.out == input_of(p, *b, 1)->slot);
         });
         *input_of(p, *a, 0) = {b->out, 0};
         return true;
       }},
      {final_row_missing, "a head less",
       [](Plan& p, Rng& r) {
         ReductionStep* step =
             any_step(p, r, [](const ReductionStep& s) { return !s.out.valid() && s.head_count > 1; });
         if (step == nullptr) return false;
         step->head_count -= 1;
         return true;
       }},
      {final_row_missing, "a final row put into a slot",
       [](Plan& p, Rng& r) {
         Task* task = any_where(p.tasks.raw(), r, [](const Task& t) {
           return !t.slot.valid() && (t.kind == TaskKind::attend || t.kind == TaskKind::values);
         });
         if (task == nullptr || p.slots.empty()) return false;
         task->slot = SlotId(0);
         return true;
       }},
      {final_row_twice, "a partial row made final",
       [](Plan& p, Rng& r) {
         Task* task =
             any_where(p.tasks.raw(), r, [](const Task& t) { return t.slot.valid() && t.kind != TaskKind::scores; });
         if (task == nullptr) return false;
         task->slot = SlotId();
         return true;
       }},
      {final_row_twice, "a step onto another's final row", take_final_row_of_another},
      {phase_order, "a phase that leaves its last out",
       [](Plan& p, Rng& r) {
         Phase* phase = any_where(p.phases, r, [](const Phase& f) { return f.range.size() > 0; });
         phase->range.end -= 1;
         return true;
       }},
      {phase_order, "a phase that begins late",
       [](Plan& p, Rng& r) {
         any(p.phases, r)->range.begin += 1;
         return true;
       }},
      {phase_order, "a phase of all before it too",
       [](Plan& p, Rng& r) {
         Phase* phase = any_where(p.phases, r, [](const Phase& f) { return f.range.begin > 0; });
         if (phase == nullptr) return false;
         phase->range.begin = 0;
         return true;
       }},
      {phase_order, "phases in another order",
       [](Plan& p, Rng& r) {
         Phase* a = any(p.phases, r);
         Phase* b = any_where(p.phases, r, [&](const Phase& f) { return f.kind == a->kind && f.range != a->range; });
         if (b == nullptr) return false;
         std::swap(a->range, b->range);
         return true;
       }},
      {phase_order, "a launch without its phases",
       [](Plan& p, Rng& r) {
         Launch* launch = any(p.launches.raw(), r);
         launch->phases.begin = launch->phases.end;
         return true;
       }},
      {phase_order, "one launch that runs another's phases too",
       [](Plan& p, Rng&) {
         if (p.launches.size() < 2) return false;
         p.launches.raw().back().phases.begin = 0;
         return true;
       }},
  };
}

std::vector<Mutator> limit_mutators() {
  const auto has_queue = [](const Plan& p) { return !p.queue_items.empty(); };
  return {
      {kernel_limit, "rows beyond the tile",
       [](Plan& p, Rng& r) {
         Phase* phase = any_where(p.phases, r, [&](const Phase& f) {
           return f.kind == PhaseKind::tasks && p.kernels[f.kernel].role != costmodel::KernelRole::softmax;
         });
         if (phase == nullptr) return false;
         const Task& task = p.tasks[TaskId(phase->range.begin)];
         const std::int32_t rows = task.queries.size() * task.head_count;
         if (rows < 2) return false;
         p.kernels[phase->kernel].query_tile = rows - 1;
         return true;
       }},
      {kernel_limit, "a kernel of another role",
       [](Plan& p, Rng& r) {
         costmodel::KernelConfig& kernel = p.kernels[any(p.phases, r)->kernel];
         kernel.role = kernel.role == costmodel::KernelRole::reduce ? costmodel::KernelRole::attend
                                                                    : costmodel::KernelRole::reduce;
         return true;
       }},
      {kernel_limit, "too much shared memory",
       [](Plan& p, Rng& r) {
         p.kernels[any(p.phases, r)->kernel].smem_bytes = 1 << 20;
         return true;
       }},
      {kernel_limit, "a tile of nothing",
       [](Plan& p, Rng& r) {
         p.kernels[any(p.phases, r)->kernel].query_tile = 0;
         return true;
       }},
      {kernel_limit, "heads a kernel doesn't pack",
       [](Plan& p, Rng& r) {
         Phase* phase = any_where(p.phases, r, [&](const Phase& f) {
           return f.kind == PhaseKind::tasks && p.kernels[f.kernel].role != costmodel::KernelRole::softmax;
         });
         if (phase == nullptr || p.tasks[TaskId(phase->range.begin)].head_count < 2) return false;
         p.kernels[phase->kernel].packs_heads = false;
         return true;
       }},
      {queue_repeats, "an item twice",
       [](Plan& p, Rng&) {
         if (p.queue_items.size() < 2) return false;
         p.queue_items.front() = p.queue_items.back();
         return true;
       }},
      {queue_repeats, "two workers, one queue",
       [](Plan& p, Rng&) {
         for (std::size_t i = 0; i + 1 < p.queues.size(); ++i) {
           if (p.queues[i].size() == 0) continue;
           p.queues[i + 1] = p.queues[i];
           return true;
         }
         return false;
       }},
      {queue_misses, "an item left out",
       [=](Plan& p, Rng& r) {
         if (!has_queue(p)) return false;
         Interval* queue = any_where(p.queues, r, [](Interval q) { return q.size() > 0; });
         queue->end -= 1;
         return true;
       }},
      {queue_misses, "an item replaced",
       [](Plan& p, Rng&) {
         if (p.queue_items.size() < 2) return false;
         p.queue_items.back() = p.queue_items.front();
         return true;
       }},
      {queue_misses, "a worker less",
       [](Plan& p, Rng&) {
         Launch* launch = p.launches.empty() ? nullptr : &p.launches.raw().front();
         if (launch == nullptr || launch->workers < 2 ||
             p.queues[static_cast<std::size_t>(launch->workers - 1)].size() == 0) {
           return false;
         }
         launch->workers -= 1;
         return true;
       }},
      {queue_workers, "workers beyond the device",
       [=](Plan& p, Rng&) {
         if (!has_queue(p)) return false;
         p.queues.resize(50'000);
         p.launches.raw().front().workers = 50'000;
         return true;
       }},
      {storage_overlap, "two slots of one phase at one place",
       [](Plan& p, Rng& r) {
         Task* a = any_where(p.tasks.raw(), r, [](const Task& t) { return t.slot.valid(); });
         if (a == nullptr) return false;
         Task* b =
             any_where(p.tasks.raw(), r, [&](const Task& t) { return t.slot.valid() && t.kind == a->kind && &t != a; });
         // Trees of a forest follow one another in the two-GEMM samples, so theirs may well share storage.
         if (b == nullptr || a->kind != TaskKind::attend) return false;
         p.slots[a->slot].offset = p.slots[b->slot].offset;
         return true;
       }},
      {storage_overlap, "a slot past the workspace",
       [](Plan& p, Rng& r) {
         Slot* slot = any(p.slots.raw(), r);
         if (slot == nullptr) return false;
         slot->offset = p.workspace_bytes;
         return true;
       }},
      {storage_overlap, "a slot before the workspace",
       [](Plan& p, Rng& r) { return set(p.slots.raw(), r, &Slot::offset, std::int64_t{-1}); }},
      {storage_overlap, "a slot off its alignment",
       [](Plan& p, Rng& r) {
         Slot* slot = any(p.slots.raw(), r);
         if (slot == nullptr) return false;
         slot->offset = p.workspace_bytes + 8;  // free room behind all others
         p.workspace_bytes += 1 << 20;
         return true;
       }},
      {storage_overlap, "an absurd offset",
       [](Plan& p, Rng& r) { return set(p.slots.raw(), r, &Slot::offset, INT64_MAX); }},
      {storage_overlap, "a workspace too small",
       [](Plan& p, Rng&) {
         if (p.slots.empty()) return false;
         p.workspace_bytes = 1;
         return true;
       }},
      {workspace_too_large, "an absurd workspace",
       [](Plan& p, Rng&) {
         p.workspace_bytes = INT64_MAX;
         return true;
       }},
      {workspace_too_large, "a workspace as large as the device",
       [](Plan& p, Rng&) {
         p.workspace_bytes = sample_device().hbm_bytes();
         return true;
       }},
      {workspace_too_large, "pages as large as the device",
       [](Plan& p, Rng&) {
         p.forest.pages.page_size = INT32_MAX;
         return true;
       }},
      {hash_mismatch, "a workspace grown afterwards",
       [](Plan& p, Rng&) {
         p.workspace_bytes += 256;
         return true;
       }},
      {hash_mismatch, "another reason",
       [](Plan& p, Rng&) {
         p.provenance.why.push_back("because");
         return true;
       }},
      {hash_mismatch, "another hash",
       [](Plan& p, Rng&) {
         p.hash ^= 1;
         return true;
       }},
  };
}

}  // namespace espalier::scheduler::samples
