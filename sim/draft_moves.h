// Steps through plan space: how a draft is cut, joined, reordered, and where the search begins.
//
// Every operation keeps the cover exact (each request, token and KV head once) and the rows within the query tiles;
// what it costs is for the simulator to say.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/rng.h"
#include "sim/plan_draft.h"

namespace espalier::sim {

/// The piece's first `tokens` tokens and the rest; 0 < tokens < piece_tokens().
std::pair<DraftPiece, DraftPiece> split_tokens(const DraftSpace& space, const DraftPiece& piece, std::int64_t tokens);
/// The piece for requests before `border` and from it on; nothing when one side is empty.
std::optional<std::pair<DraftPiece, DraftPiece>> split_requests(const DraftSpace& space, const DraftPiece& piece,
                                                                RequestId border);
/// One piece that does the work of both, in the kernel of one of them; nothing when a request would read tokens that
/// neither reads for it, or the rows fit neither kernel.
std::optional<DraftPiece> merge_pieces(const DraftSpace& space, const DraftPiece& a, const DraftPiece& b);
/// The piece in `parts` parts of whole KV tiles, larger ones first (fewer when it has fewer tiles).
std::vector<DraftPiece> cut_evenly(const DraftSpace& space, const DraftPiece& piece, std::int64_t parts);
/// By falling estimate; equal ones by their tokens' place in the forest.
void sort_longest_first(const DraftSpace& space, PlanDraft& draft);

/// Changes the draft by one random move. False: the move drawn has no place here, and the draft is as it was.
bool mutate(const DraftSpace& space, PlanDraft& draft, core::Rng& rng);

/// Drafts made from nothing: tiles of one height over the whole forest (masked) or over each run of nodes with equal
/// readers, cut for several numbers of pieces a CTA slot. In a fixed order.
struct Opening {
  std::int32_t kernel = 0;
  bool masked = true;
  double pieces_per_slot = 1;  ///< 0: uncut
  DraftMerge merge = DraftMerge::on_arrival;
};
std::vector<Opening> openings(const DraftSpace& space);
PlanDraft open_draft(const DraftSpace& space, const Opening& opening);

}  // namespace espalier::sim
