// Drafts to plans and back; see the header.
#include "sim/plan_draft.h"

#include <algorithm>
#include <queue>

#include "core/error.h"
#include "core/units.h"
#include "costmodel/work_counts.h"
#include "scheduler/plan_builder.h"

namespace espalier::sim {

using scheduler::KernelId;
using scheduler::Plan;
using scheduler::PlanBuilder;
using scheduler::QueueItem;
using scheduler::Segment;
using scheduler::StepId;
using scheduler::Task;
using scheduler::TaskId;
using scheduler::TaskKind;
using traces::PrefixForest;

DraftSpace make_draft_space(const PrefixForest& forest, const traces::HeadConfig& heads,
                            const costmodel::DeviceSpec& device) {
  DraftSpace space{forest, heads, device, {}};
  std::string reason = "the catalog has no kernel of ours";
  for (const costmodel::KernelConfig& kernel : costmodel::kernel_catalog()) {
    if (kernel.role != costmodel::KernelRole::attend || !kernel.name.starts_with("espalier_")) continue;
    const std::string unfit = costmodel::unfit_reason(kernel, heads, device);
    if (unfit.empty()) {
      space.kernels.push_back(
          {kernel, scheduler::queries_per_tile(kernel, heads), costmodel::ctas_per_sm(kernel, heads, device)});
    } else {
      reason = unfit;
    }
  }
  if (space.kernels.empty()) throw core::Error(core::ErrorKind::check_failed, reason);
  std::stable_sort(space.kernels.begin(), space.kernels.end(), [](const DraftKernel& a, const DraftKernel& b) {
    return a.config.query_tile < b.config.query_tile;
  });
  return space;
}

std::int32_t seen_by(const PrefixForest& forest, NodeId node, RequestId begin, RequestId end) {
  return std::max(0, std::min(end, forest.request_end[node]).value - std::max(begin, forest.request_begin[node]).value);
}

std::vector<RequestId> readers_of(const PrefixForest& forest, const DraftPiece& piece) {
  std::vector<RequestId> readers;
  RequestId next = piece.begin;
  // Nodes come in preorder: a span's readers begin no earlier than those of the spans before it.
  for (const DraftSpan& span : piece.spans) {
    next = std::max(next, forest.request_begin[span.node]);
    for (; next < std::min(piece.end, forest.request_end[span.node]); ++next.value) readers.push_back(next);
  }
  return readers;
}

std::int64_t piece_tokens(const DraftPiece& piece) {
  std::int64_t tokens = 0;
  for (const DraftSpan& span : piece.spans) tokens += span.tokens();
  return tokens;
}

double estimated_us(const DraftSpace& space, const DraftPiece& piece) {
  const DraftKernel& kernel = space.kernels[static_cast<std::size_t>(piece.kernel)];
  const costmodel::DeviceSpec& device = space.device;
  costmodel::TaskShape shape;
  shape.queries = std::min(kernel.queries, std::max(1, piece.end.value - piece.begin.value));
  shape.heads = scheduler::heads_per_copy(kernel.config, space.heads);
  shape.kv_tokens = piece_tokens(piece);
  shape.visible_pairs = shape.kv_tokens * shape.queries;
  const double cycles = costmodel::tile_cycles(shape, kernel.config, space.heads, device).total;
  const double tiles = static_cast<double>(core::ceil_div(shape.kv_tokens, std::int64_t{kernel.config.kv_tile}));
  const double share = device.hbm_achievable_bytes_per_us() / (device.sms * kernel.residents);
  const double bytes = static_cast<double>(shape.kv_tokens * space.heads.kv_bytes_per_token_head());
  return (device.cta_start_ns + device.cta_end_ns + device.hbm_latency_ns) * 1e-3 +
         std::max(tiles * cycles * kernel.residents / device.clocks_per_us(), bytes / share);
}

namespace {

class Emission {
 public:
  Emission(const DraftSpace& space, const PlanDraft& draft)
      : space_(space), draft_(draft), builder_(space.forest, space.heads) {}

  Plan run() && {
    for (const DraftPiece& piece : draft_.pieces) {
      if (std::find(kernels_.begin(), kernels_.end(), piece.kernel) == kernels_.end()) kernels_.push_back(piece.kernel);
    }
    const bool apart = draft_.side_by_side && draft_.merge != DraftMerge::on_arrival && !draft_.persistent;
    std::vector<scheduler::LaunchId> launches;
    for (std::size_t k = 0; k < kernels_.size(); ++k) {
      if (k == 0 || apart) launches.push_back(builder_.launch(scheduler::Follow::graph, static_cast<std::int32_t>(k)));
      add_phase(kernels_[k]);
    }
    const StepId steps = builder_.finish_rows(traces::Dtype::fp32);
    const bool merges = steps < builder_.next_step();
    const bool fused = merges && draft_.merge == DraftMerge::on_arrival;
    if (fused) builder_.step_phase(reduce(), steps, scheduler::PhaseStart::on_arrival);
    if (draft_.persistent) deal(fused);
    if (merges && !fused) {
      builder_.launch(draft_.merge == DraftMerge::launch ? scheduler::Follow::graph : scheduler::Follow::programmatic,
                      0, launches);
      builder_.step_phase(reduce(), steps);
    }
    scheduler::Provenance from;
    from.strategy = "tune";
    from.device = space_.device.name;
    from.kernels = "ours";
    return std::move(builder_).finish(std::move(from));
  }

 private:
  KernelId reduce() { return builder_.kernel(costmodel::our_reduce_kernel()); }

  void add_phase(std::int32_t kernel) {
    const KernelId id = builder_.kernel(space_.kernels[static_cast<std::size_t>(kernel)].config);
    const TaskId first = builder_.next_task();
    for (const DraftPiece& piece : draft_.pieces) {
      if (piece.kernel == kernel) add_task(id, piece);
    }
    builder_.task_phase(id, first);
  }

  void add_task(KernelId kernel, const DraftPiece& piece) {
    const std::vector<RequestId> readers = readers_of(space_.forest, piece);
    ESPALIER_CHECK(!readers.empty());
    std::vector<Segment> segments;
    for (const DraftSpan& span : piece.spans) {
      const auto row = [&](RequestId r) {
        return static_cast<std::int32_t>(std::lower_bound(readers.begin(), readers.end(), r) - readers.begin());
      };
      Segment segment = builder_.segment(span.node, span.begin, span.end, 0);
      segment.row_begin = row(space_.forest.request_begin[span.node]);
      segment.row_end = row(space_.forest.request_end[span.node]);
      ESPALIER_CHECK_OP(segment.row_begin, <, segment.row_end);
      segments.push_back(segment);
    }
    Task task;
    task.segments = builder_.segments(segments);
    task.queries = builder_.queries(readers);
    task.head_count = scheduler::heads_per_copy(builder_.plan().kernels[kernel], space_.heads);
    task.head_begin = piece.kv_begin * space_.heads.group();
    task.copies = (piece.kv_end - piece.kv_begin) * space_.heads.group() / task.head_count;
    builder_.task(task);
    estimates_.push_back(draft_.persistent ? estimated_us(space_, piece) : 0);
  }

  /// Queues for as many workers as the device holds of the launch's most demanding kernel.
  void deal(bool fused) {
    std::int32_t residents =
        fused ? costmodel::ctas_per_sm(costmodel::our_reduce_kernel(), space_.heads, space_.device) : 1 << 20;
    for (const std::int32_t k : kernels_) {
      residents = std::min(residents, space_.kernels[static_cast<std::size_t>(k)].residents);
    }
    std::vector<std::vector<QueueItem>> workers(
        static_cast<std::size_t>(residents * static_cast<std::int32_t>(space_.device.sms)));
    using Load = std::pair<double, std::size_t>;
    std::priority_queue<Load, std::vector<Load>, std::greater<>> loads;
    for (std::size_t w = 0; w < workers.size(); ++w) loads.push({0, w});
    for (const TaskId t : core::ids<TaskId>(builder_.plan().tasks.size())) {
      for (std::int32_t copy = 0; copy < builder_.plan().tasks[t].copies; ++copy) {
        const auto [us, w] = loads.top();
        loads.pop();
        workers[w].push_back({t, copy});
        loads.push({us + estimates_[t.index()], w});
      }
    }
    builder_.queues(workers);
  }

  const DraftSpace& space_;
  const PlanDraft& draft_;
  PlanBuilder builder_;
  std::vector<std::int32_t> kernels_;  ///< in order of first appearance
  std::vector<double> estimates_;      ///< by task
};

/// Index of the space's kernel, or -1.
std::int32_t kernel_index(const DraftSpace& space, const costmodel::KernelConfig& config) {
  for (std::size_t k = 0; k < space.kernels.size(); ++k) {
    if (space.kernels[k].config == config) return static_cast<std::int32_t>(k);
  }
  return -1;
}

std::optional<DraftPiece> piece_of(const DraftSpace& space, const Plan& plan, const Task& task) {
  const std::int32_t group = plan.heads.group(), heads = task.head_count * task.copies;
  if (task.kind != TaskKind::attend || task.folds.size() > 0 || task.queries.size() == 0) return std::nullopt;
  if (task.head_begin % group != 0 || heads % group != 0) return std::nullopt;
  const auto row = [&](std::int32_t r) { return plan.query_rows[static_cast<std::size_t>(task.queries.begin + r)]; };
  DraftPiece piece;
  piece.begin = row(0);
  piece.end = RequestId(row(task.queries.size() - 1).value + 1);
  piece.kv_begin = task.head_begin / group;
  piece.kv_end = piece.kv_begin + heads / group;
  for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
    const Segment& segment = plan.segments[static_cast<std::size_t>(s)];
    if (segment.row_begin == segment.row_end) continue;
    if (seen_by(space.forest, segment.node, piece.begin, piece.end) != segment.row_end - segment.row_begin) {
      return std::nullopt;
    }
    piece.spans.push_back({segment.node, segment.token_begin, static_cast<std::int32_t>(segment_end(plan, segment))});
  }
  std::sort(piece.spans.begin(), piece.spans.end());
  // Pieces of one node that touch are one span.
  std::vector<DraftSpan> joined;
  for (const DraftSpan& span : piece.spans) {
    if (!joined.empty() && joined.back().node == span.node && joined.back().end == span.begin) {
      joined.back().end = span.end;
    } else {
      joined.push_back(span);
    }
  }
  piece.spans = std::move(joined);
  const auto rows = readers_of(space.forest, piece).size();
  if (rows != static_cast<std::size_t>(task.queries.size())) return std::nullopt;
  return piece;
}

}  // namespace

Plan emit_draft(const DraftSpace& space, const PlanDraft& draft) { return Emission(space, draft).run(); }

std::optional<PlanDraft> draft_of(const DraftSpace& space, const Plan& plan) {
  PlanDraft draft;
  std::size_t task_launches = 0;
  for (const scheduler::Launch& launch : plan.launches) {
    bool has_tasks = false;
    for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
      const scheduler::Phase& phase = plan.phases[static_cast<std::size_t>(p)];
      if (phase.kind == scheduler::PhaseKind::steps) {
        if (phase.start == scheduler::PhaseStart::on_arrival) {
          draft.merge = DraftMerge::on_arrival;
        } else if (launch.follow == scheduler::Follow::programmatic) {
          draft.merge = DraftMerge::programmatic;
        }
        continue;
      }
      const std::int32_t kernel = kernel_index(space, plan.kernels[phase.kernel]);
      for (TaskId t(phase.range.begin); t.value < phase.range.end; ++t.value) {
        if (plan.tasks[t].kind == TaskKind::padding) continue;
        std::optional<DraftPiece> piece = kernel < 0 ? std::nullopt : piece_of(space, plan, plan.tasks[t]);
        if (!piece) return std::nullopt;
        piece->kernel = kernel;
        draft.pieces.push_back(std::move(*piece));
        has_tasks = true;
      }
    }
    task_launches += has_tasks;
    draft.persistent = draft.persistent || (has_tasks && launch.workers > 0);
  }
  draft.side_by_side = task_launches > 1;
  if (draft.pieces.empty()) return std::nullopt;
  return draft;
}

}  // namespace espalier::sim
