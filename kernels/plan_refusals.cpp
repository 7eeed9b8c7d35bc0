// Every refusal is one sentence, said before anything is lowered.
#include "kernels/plan_refusals.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

namespace espalier::kernels {
namespace {

using scheduler::Interval;
using scheduler::Plan;
using scheduler::Task;
using scheduler::TaskId;
using scheduler::TaskKind;

void require_known_slots(const Plan& plan) {
  for (const scheduler::Slot& slot : plan.slots) {
    if (slot.dtype == traces::Dtype::fp8_e4m3) refuse("rows of slots in fp8_e4m3");
    if (slot.kind == scheduler::SlotKind::partial && slot.columns != plan.heads.v_dim) {
      refuse(fmt::format("a slot of {} columns for values of {}", slot.columns, plan.heads.v_dim));
    }
  }
}

void require_known_heads(const Plan& plan, const KernelSet& kernels) {
  const bool known = std::any_of(kernels.attend.begin(), kernels.attend.end(), [&](const AttendInstance& i) {
    return i.kind == TaskKind::attend && fits_heads(i, plan.heads);
  });
  if (!known) {
    refuse(
        fmt::format("no kernel for heads {} with {} queries and a {} cache (64, 128 and 256 columns in bf16; 128 in "
                    "fp16, and over fp8_e4m3; latent 576:512 in bf16)",
                    traces::heads_text(plan.heads), traces::dtype_name(plan.heads.q_dtype),
                    traces::dtype_name(plan.heads.kv_dtype)));
  }
  if (!(plan.heads.softmax_scale() > 0)) refuse("a softmax scale that isn't positive");
  const auto& ids = plan.forest.pages.page_ids;
  const auto most = ids.empty() ? 0 : *std::max_element(ids.begin(), ids.end());
  if (most > std::numeric_limits<std::int32_t>::max()) refuse(fmt::format("page id {} doesn't fit 32 bits", most));
}

/// A run of tokens of one node.
struct NodeRun {
  traces::NodeId node;
  std::int64_t begin, end;
  friend bool operator==(const NodeRun&, const NodeRun&) = default;
};

void add_runs(const Plan& plan, Interval segments, std::vector<NodeRun>& runs) {
  for (std::int32_t s = segments.begin; s < segments.end; ++s) {
    const scheduler::Segment& segment = plan.segments[static_cast<std::size_t>(s)];
    const std::int64_t end = scheduler::segment_end(plan, segment);
    if (!runs.empty() && runs.back().node == segment.node && runs.back().end == segment.token_begin) {
      runs.back().end = end;
    } else {
      runs.push_back({segment.node, segment.token_begin, end});
    }
  }
}

/// The kernel takes column i of a values task's folded slots for its token i.
void require_readable_scores(const Plan& plan) {
  std::vector<const Task*> writers(plan.slots.size(), nullptr);
  for (const Task& task : plan.tasks) {
    if (task.kind == TaskKind::scores && task.slot.valid()) writers[task.slot.index()] = &task;
  }
  const std::vector<TaskFacts> facts = task_facts(plan);
  for (const TaskId t : core::ids<TaskId>(plan.tasks.size())) {
    const Task& task = plan.tasks[t];
    if ((task.kind == TaskKind::scores || task.kind == TaskKind::values) && facts[t.index()].unmasked == 0) {
      refuse(fmt::format("{} task {}, whose rows see different tokens", scheduler::kind_name(task.kind), t.value));
    }
    if (task.kind != TaskKind::values) continue;
    std::vector<NodeRun> read, stored;
    add_runs(plan, task.segments, read);
    std::int64_t columns = 0;
    for (std::int32_t f = task.folds.begin; f < task.folds.end; ++f) {
      const scheduler::SlotId slot = plan.fold_slots[static_cast<std::size_t>(f)];
      if (writers[slot.index()] != nullptr) add_runs(plan, writers[slot.index()]->segments, stored);
      columns += plan.slots[slot].columns;
    }
    if (read != stored || columns != facts[t.index()].tokens) {
      refuse(fmt::format("values task {} reads tokens in another order than its scores stand in", t.value));
    }
  }
}

}  // namespace

void refuse(const std::string& sentence) { throw PlanRefused("the kernels can't run this plan: " + sentence); }

bool fits_heads(const AttendInstance& instance, const traces::HeadConfig& heads) {
  if (instance.kind == TaskKind::softmax) return true;  // stored numbers have no heads
  return instance.q_dtype == heads.q_dtype && instance.kv_dtype == heads.kv_dtype && instance.qk_dim == heads.qk_dim &&
         instance.v_dim == heads.v_dim && instance.v_in_k == heads.v_in_k;
}

void require_runnable(const Plan& plan, const KernelSet& kernels) {
  require_known_slots(plan);
  require_known_heads(plan, kernels);
  require_readable_scores(plan);
}

}  // namespace espalier::kernels
