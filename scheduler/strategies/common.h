// What several strategies share: refusing from deep inside a build, choosing kernels, walking node chains, provenance,
// and the emission of pieces of KV as tasks. Private to scheduler/strategies.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text.h"
#include "scheduler/plan_builder.h"
#include "scheduler/strategy.h"

namespace espalier::scheduler::planning {

/// Thrown inside a build and turned into the refusal it carries by refusable().
struct Refused {
  Refusal refusal;
};
[[noreturn]] void refuse(RefusalClass refusal, std::string sentence);

template <class Build>
PlanResult refusable(Build&& build) {
  try {
    return std::forward<Build>(build)();
  } catch (const Refused& refused) {
    return refused.refusal;
  }
}

/// Most segments, partial rows or merge inputs a strategy writes; more is refused with class `size`.
inline constexpr std::int64_t kMaxPlanRows = std::int64_t{1} << 24;
/// Refuses with class `size` when `count` exceeds `limit`.
void require_at_most(std::string_view what, std::int64_t count, std::int64_t limit);
/// Sum over requests of the nodes on their paths.
std::int64_t path_rows(const traces::PrefixForest& forest);

bool shares_anything(const traces::PrefixForest& forest);

/// True when PlanRequest::only_kernels allows it.
bool may_use(const PlanRequest& request, const costmodel::KernelConfig& kernel);

// Kernels. All refuse with class `kernel` when none fits the device.
const costmodel::KernelConfig& our_kernel(const PlanRequest& request, std::int64_t rows);
/// Those that it gives for any number of rows, by rising query tile.
std::vector<const costmodel::KernelConfig*> our_kernels(const PlanRequest& request);
/// Our kernels of the same query tile that fit the device, `usual` first.
std::vector<const costmodel::KernelConfig*> our_variants(const PlanRequest& request,
                                                         const costmodel::KernelConfig& usual);
const costmodel::KernelConfig& published_kernel(const PlanRequest& request, std::string_view name);
/// `name` for head dims 65..128, name_n256 up to 64, name_n64 above 128: kernels whose KV tile follows the head dim.
const costmodel::KernelConfig& published_kernel_by_dim(const PlanRequest& request, std::string_view name);
const costmodel::KernelConfig& reduce_kernel(const PlanRequest& request, std::string_view published_name);

Provenance provenance(const StrategyInfo& info, const PlanRequest& request);
Plan empty_plan(const StrategyInfo& info, const PlanRequest& request);

/// A chain of nodes read one after the other.
class Route {
 public:
  Route(const traces::PrefixForest& forest, std::vector<NodeId> nodes);
  std::int64_t tokens() const { return ends_.empty() ? 0 : ends_.back(); }
  /// Appends the segments of route tokens [begin, end), seen by `rows` queries.
  void cut(const PlanBuilder& builder, std::int64_t begin, std::int64_t end, std::int32_t rows,
           std::vector<Segment>& out) const;

 private:
  std::vector<NodeId> nodes_;
  std::vector<std::int64_t> ends_;  ///< route tokens up to and including each node
};

/// Requests [begin, end) that share one query tile, and the tasks that hold their partial rows of one route.
struct QueryTile {
  RequestId begin, end;
  std::vector<TaskId> tasks;
};

/// Tokens [begin, end) of a route for one query tile: a task to be.
struct Piece {
  std::size_t route;
  std::size_t tile;
  std::int64_t begin, end;
};

/// Appends attend tasks for the pieces in their order and notes each in its tile.
void emit_pieces(PlanBuilder& builder, KernelId kernel, std::span<const Route> routes, std::span<const Piece> pieces,
                 std::span<QueryTile> tiles);

/// Opens a launch that runs the steps [begin, now) on `kernel`; nothing when there are none.
void merge_launch(PlanBuilder& builder, KernelId kernel, StepId begin, Follow follow,
                  std::span<const LaunchId> after = {});

/// How a plan's partial rows become final ones.
struct FinalMerge {
  KernelId kernel;
  traces::Dtype dtype;  ///< of partial rows
  Follow follow;        ///< of a launch of merges
  std::span<const LaunchId> after = {};
};
/// Finishes all rows and runs the steps from `begin` on: with our kernels, where one launch holds all tasks, on arrival
/// in that launch; else in a launch that follows.
void merge_rows(const PlanRequest& request, PlanBuilder& builder, StepId begin, const FinalMerge& merge);
inline void merge_rows(const PlanRequest& request, PlanBuilder& builder, const FinalMerge& merge) {
  merge_rows(request, builder, builder.next_step(), merge);
}

/// A slot of whole partial rows: all query heads of the group.
Slot partial_slot(const Plan& plan, Interval queries, traces::Dtype dtype);

using core::counted;

}  // namespace espalier::scheduler::planning
