// Level-by-level merging; see the header. Neighbouring requests whose rows lie side by side share one step.
#include "scheduler/strategies/level_merge.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::scheduler::planning {
namespace {

/// One request's merge, to be joined with its neighbours'.
struct RowMerge {
  std::vector<RowRef> inputs;
  SlotId out;  ///< invalid: final rows
  std::int32_t out_row = 0;
};

class StepRuns {
 public:
  explicit StepRuns(PlanBuilder& builder) : builder_(builder) {}
  void add(RowMerge&& merge) {
    if (rows_ > 0 && continues(merge)) {
      ++rows_;
      return;
    }
    flush();
    open_ = std::move(merge);
    rows_ = 1;
  }

  void flush() {
    if (rows_ == 0) return;
    ReductionStep step;
    step.rows = rows_;
    step.out = open_.out;
    step.out_row = open_.out_row;
    step.head_count = builder_.plan().heads.q_heads;
    builder_.step(step, open_.inputs);
    rows_ = 0;
  }

 private:
  bool continues(const RowMerge& merge) const {
    if (merge.inputs.size() != open_.inputs.size() || merge.out != open_.out ||
        merge.out_row != open_.out_row + rows_) {
      return false;
    }
    for (std::size_t i = 0; i < merge.inputs.size(); ++i) {
      if (merge.inputs[i].slot != open_.inputs[i].slot || merge.inputs[i].row != open_.inputs[i].row + rows_) {
        return false;
      }
    }
    return true;
  }

  PlanBuilder& builder_;
  RowMerge open_;
  std::int32_t rows_ = 0;
};

}  // namespace

std::vector<LevelRow> settle_level(PlanBuilder& builder, std::span<const QueryTile> tiles,
                                   const core::Column<RequestId, std::int32_t>& levels, traces::Dtype dtype) {
  Plan& plan = builder.plan();
  std::vector<LevelRow> rows;
  for (const QueryTile& tile : tiles) {
    bool only_level = true;
    for (RequestId r = tile.begin; r < tile.end; ++r.value) only_level = only_level && levels[r] == 1;
    if (tile.tasks.size() == 1 && only_level) continue;
    const Interval group = builder.queries(tile.begin, tile.end);
    std::vector<RowRef> pieces;
    for (const TaskId t : tile.tasks) {
      plan.tasks[t].slot = builder.slot(partial_slot(plan, group, dtype));
      pieces.push_back({plan.tasks[t].slot, 0});
    }
    SlotId whole = pieces[0].slot;
    if (pieces.size() > 1) {
      ReductionStep step;
      step.rows = group.size();
      step.head_count = plan.heads.q_heads;
      if (only_level) {
        step.out_row = group.begin;
      } else {
        step.out = whole = builder.slot(partial_slot(plan, group, dtype));
      }
      builder.step(step, pieces);
    }
    if (only_level) continue;
    for (RequestId r = tile.begin; r < tile.end; ++r.value) rows.push_back({r, {whole, r.value - tile.begin.value}});
  }
  return rows;
}

void join_levels(PlanBuilder& builder, std::span<const std::vector<LevelRow>> levels) {
  StepRuns steps(builder);
  std::vector<std::size_t> next(levels.size(), 0);
  for (const RequestId r : core::ids<RequestId>(builder.plan().forest.request_count())) {
    RowMerge merge;
    for (std::size_t l = 0; l < levels.size(); ++l) {
      if (next[l] == levels[l].size() || levels[l][next[l]].request != r) continue;
      merge.inputs.push_back(levels[l][next[l]++].row);
    }
    if (merge.inputs.empty()) continue;
    merge.out_row = builder.queries(r, RequestId(r.value + 1)).begin;
    steps.add(std::move(merge));
  }
  steps.flush();
}

RunningRows::RunningRows(PlanBuilder& builder, const core::Column<RequestId, std::int32_t>& levels, traces::Dtype dtype)
    : builder_(builder), levels_(levels), dtype_(dtype), had_(levels.size(), 0), running_(levels.size()),
      cohort_row_(levels.size(), 0) {
  std::int32_t most = 0;
  for (const std::int32_t n : levels) most = std::max(most, n);
  cohort_.resize(static_cast<std::size_t>(most) + 1);
  latest_.resize(cohort_.size());
  for (const RequestId r : core::ids<RequestId>(levels.size())) {
    std::vector<RequestId>& members = cohort_[static_cast<std::size_t>(levels[r])];
    cohort_row_[r] = static_cast<std::int32_t>(members.size());
    members.push_back(r);
  }
}

SlotId RunningRows::cohort_slot(std::int32_t levels) {
  const auto c = static_cast<std::size_t>(levels);
  const Plan& plan = builder_.plan();
  // The query list of a cohort is stored once, by its first slot.
  const Interval queries = latest_[c].valid() ? plan.slots[latest_[c]].queries : builder_.queries(cohort_[c]);
  const SlotId slot = builder_.slot(partial_slot(plan, queries, dtype_));
  if (latest_[c].valid()) builder_.reuse_storage(slot, latest_[c]);
  return slot;
}

void RunningRows::join(std::span<const LevelRow> rows) {
  std::vector<SlotId> out(cohort_.size());
  StepRuns steps(builder_);
  for (const LevelRow& level : rows) {
    const RequestId r = level.request;
    const auto cohort = static_cast<std::size_t>(levels_[r]);
    const bool last = ++had_[r] == levels_[r];
    if (had_[r] == 1 && !last) {
      running_[r] = level.row;
      continue;
    }
    RowMerge merge;
    if (had_[r] > 1) merge.inputs.push_back(running_[r]);
    merge.inputs.push_back(level.row);
    if (last) {
      merge.out_row = builder_.queries(r, RequestId(r.value + 1)).begin;
    } else {
      if (!out[cohort].valid()) out[cohort] = cohort_slot(levels_[r]);
      merge.out = out[cohort];
      merge.out_row = cohort_row_[r];
      running_[r] = {out[cohort], cohort_row_[r]};
    }
    steps.add(std::move(merge));
  }
  steps.flush();
  for (std::size_t c = 0; c < out.size(); ++c) {
    if (out[c].valid()) latest_[c] = out[c];
  }
}

void merge_in_rounds(PlanBuilder& builder, KernelId reduce, std::span<const std::vector<QueryTile>> tiles_of_level,
                     const core::Column<RequestId, std::int32_t>& levels, const RoundStyle& style) {
  StepId first = builder.next_step();
  std::vector<std::vector<LevelRow>> rows;
  for (const std::vector<QueryTile>& tiles : tiles_of_level) {
    rows.push_back(settle_level(builder, tiles, levels, style.dtype));
  }
  merge_launch(builder, reduce, first, style.follow, style.after);
  RunningRows running(builder, levels, style.dtype);
  for (const std::vector<LevelRow>& level : rows) {
    first = builder.next_step();
    running.join(level);
    merge_launch(builder, reduce, first, style.follow, style.after);
  }
}

}  // namespace espalier::scheduler::planning
