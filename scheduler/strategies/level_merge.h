// Merging level by level: each request's partial rows of a level are joined with what it has gathered so far
// (FlashInfer's cascade goes from the deepest level up, CoDec's rounds from the root down), or with those of all levels
// at once (Relay, Hydragen).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/strategies/common.h"

namespace espalier::scheduler::planning {

/// Where one request's rows of a level stand.
struct LevelRow {
  RequestId request;
  RowRef row;
};

/// Gives the tasks of a level's tiles their outputs: final rows when every request of the tile has this level only,
/// else a slot; appends the steps that merge the KV pieces of a tile. Returns the rows that go on to RunningRows, by
/// request. `levels`: levels each request has rows in. Tiles must be ascending and disjoint.
std::vector<LevelRow> settle_level(PlanBuilder& builder, std::span<const QueryTile> tiles,
                                   const core::Column<RequestId, std::int32_t>& levels, traces::Dtype dtype);

/// Appends the steps that join each request's rows of all levels at once into its final row. Rows of a level by
/// request, as settle_level() gives them.
void join_levels(PlanBuilder& builder, std::span<const std::vector<LevelRow>> levels);

/// How rounds merge: the partial rows' type, how launches follow, and the attention launches they wait for.
struct RoundStyle {
  traces::Dtype dtype;
  Follow follow;
  std::span<const LaunchId> after;
};
/// CoDec's released order: the pieces of each level's tiles in one launch, then a launch a level from the first one on.
void merge_in_rounds(PlanBuilder& builder, KernelId reduce, std::span<const std::vector<QueryTile>> tiles_of_level,
                     const core::Column<RequestId, std::int32_t>& levels, const RoundStyle& style);

/// The rows each request has gathered. Requests with equally many levels form a cohort that is merged together every
/// time, so its rows stay in the same storage from merge to merge.
class RunningRows {
 public:
  RunningRows(PlanBuilder& builder, const core::Column<RequestId, std::int32_t>& levels, traces::Dtype dtype);
  /// Appends the steps that join a level's rows to the running rows; a request that has now had all its levels gets its
  /// final row.
  void join(std::span<const LevelRow> rows);

 private:
  SlotId cohort_slot(std::int32_t levels);

  PlanBuilder& builder_;
  const core::Column<RequestId, std::int32_t>& levels_;
  traces::Dtype dtype_;
  core::Column<RequestId, std::int32_t> had_;  ///< levels joined so far
  core::Column<RequestId, RowRef> running_;
  core::Column<RequestId, std::int32_t> cohort_row_;
  std::vector<std::vector<RequestId>> cohort_;  ///< by number of levels
  std::vector<SlotId> latest_;                  ///< each cohort's slot of the last join
};

}  // namespace espalier::scheduler::planning
