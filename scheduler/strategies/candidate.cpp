#include "scheduler/strategies/candidate.h"

#include <fmt/core.h>

#include <algorithm>

#include "scheduler/strategies/node_boxes.h"

namespace espalier::scheduler::planning {
namespace {

/// Where computing takes the time, who reads had better run beside who computes; where reading does, the readers of the
/// same tokens with each other. Short plans are over too soon.
Dispatch dispatch_of(const Candidate& c) {
  if (!c.is_long) return Dispatch::longest_first;
  return is_compute_bound(c.forecast) ? Dispatch::mixed : Dispatch::joined;
}

/// Pieces as tasks, longest first.
void write_pieces(PlanBuilder& builder, const Candidate& c, const Runs& runs) {
  const traces::PrefixForest& forest = builder.plan().forest;
  TilePieces cut =
      c.boxes ? cut_box_cover(forest, runs, c.kernels[0]->queries, c.cuts[0]) : cut_tiles(forest, c.cover, c.cuts);
  require_at_most("tasks", static_cast<std::int64_t>(cut.pieces.size()), kMaxTasks);
  const std::vector<std::uint32_t> order = dispatch_order(cut, dispatch_of(c));
  builder.reserve_tasks(cut.pieces.size(), cut.segments.size());
  // One launch a kernel, side by side, large tiles first: they compute longest while the others read.
  std::vector<LaunchId> launches;
  for (std::size_t h = c.kernels.size(); h-- > 0;) {
    if (std::none_of(cut.pieces.begin(), cut.pieces.end(), [h](const TilePiece& p) { return p.height == h; })) continue;
    const TaskId first = builder.next_task();
    const KernelId kernel = builder.kernel(*c.kernels[h]->config);
    for (const std::uint32_t i : order) {
      if (cut.pieces[i].height == h) emit_piece(builder, kernel, cut, cut.pieces[i]);
    }
    launches.push_back(builder.launch(Follow::graph, static_cast<std::int32_t>(launches.size())));
    builder.task_phase(kernel, first);
  }
  const StepId merges = builder.finish_rows(traces::Dtype::fp32);
  if (merges == builder.next_step()) return;
  const KernelId reduce = builder.kernel(costmodel::our_reduce_kernel());
  // In a single launch, whoever writes the last partial row of a merge goes on with it: no second launch.
  if (launches.size() == 1) {
    builder.step_phase(reduce, merges, PhaseStart::on_arrival);
  } else {
    merge_launch(builder, reduce, merges, Follow::graph, launches);
  }
}

void write_shares(PlanBuilder& builder, const Candidate& c, std::int32_t copies) {
  const TileKernel& tile = *c.kernels[0];
  TilePieces cut = cut_shares(builder.plan().forest, c.cover, tile.config->kv_tile, c.shares);
  require_at_most("tasks", static_cast<std::int64_t>(cut.pieces.size()), kMaxTasks);
  const KernelId kernel = builder.kernel(*tile.config);
  const TaskId first = builder.next_task();
  builder.reserve_tasks(cut.pieces.size(), cut.segments.size());
  for (const TilePiece& piece : cut.pieces) emit_piece(builder, kernel, cut, piece);
  builder.launch();
  builder.task_phase(kernel, first);
  const StepId merges = builder.finish_rows(traces::Dtype::fp32);
  const auto reduce = [&] { return builder.kernel(costmodel::our_reduce_kernel()); };
  if (merges != builder.next_step()) builder.step_phase(reduce(), merges, PhaseStart::on_arrival);
  queue_lanes(builder, first, c.shares, copies);
}

}  // namespace

void write_candidate(PlanBuilder& builder, const Candidate& candidate, const Runs& runs, std::int32_t copies) {
  if (candidate.shares.empty()) {
    write_pieces(builder, candidate, runs);
  } else {
    write_shares(builder, candidate, copies);
  }
}

std::string said_of_tiles(const Candidate& c, const Plan& plan) {
  std::string tiles;
  for (std::size_t h = 0; h < c.kernels.size(); ++h) {
    std::int64_t longest = 0, tiles_of_height = 0;
    for (const TileLayer& layer : c.cover.layers) {
      for (const TileRun& run : layer.runs) {
        if (run.height == h) tiles_of_height += run.tiles, longest = std::max(longest, run.tokens);
      }
    }
    if (tiles_of_height == 0) continue;
    tiles += fmt::format("{}{} of up to {} (at most {} tokens{})", tiles.empty() ? "" : ", ",
                         counted(tiles_of_height, "tile"), counted(c.kernels[h]->queries, "request"), longest,
                         c.boxes ? ", of one node" : "");
  }
  const std::string tasks = counted(static_cast<std::int64_t>(plan.tasks.size()), "task");
  const std::string partial = counted(static_cast<std::int64_t>(plan.slots.size()), "task") + " leave partial rows";
  const std::string whole = c.cuts_last() ? fmt::format(", the first {} tiles whole", c.cuts[0].whole) : "";
  return fmt::format("{}, read by {}{}; {}", tiles, tasks, whole,
                     plan.slots.empty() ? "every row is final, nothing to merge" : partial);
}

std::string said_of_shares(const Candidate& c, std::int32_t copies) {
  return fmt::format("arithmetic bound: equal shares for {} persistent CTAs", (c.shares.back().lane + 1) * copies);
}

}  // namespace espalier::scheduler::planning
