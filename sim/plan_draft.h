// What the tuner changes: a plan as an ordered list of pieces and a few choices of how they are launched and merged.
//
// A piece is an interval of requests and runs of node tokens; each run is read for the requests of the interval that
// are under its node, so the masks of a plan follow from the forest and any (request, token) pair is covered by
// counting. A draft becomes a plan through PlanBuilder, and most plans (one-pass attention in our kernels) can be read
// back as drafts.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "costmodel/device_spec.h"
#include "scheduler/plan.h"

namespace espalier::sim {

using scheduler::NodeId;
using scheduler::RequestId;

/// Tokens [begin, end) of a node.
struct DraftSpan {
  NodeId node;
  std::int32_t begin = 0, end = 0;
  std::int32_t tokens() const { return end - begin; }
  friend auto operator<=>(const DraftSpan&, const DraftSpan&) = default;
};

/// A task to be: `spans` in order of (node, begin), each seen by at least one request of [begin, end); heads of KV
/// heads [kv_begin, kv_end).
struct DraftPiece {
  RequestId begin, end;
  std::vector<DraftSpan> spans;
  std::int32_t kernel = 0;  ///< of DraftSpace::kernels
  std::int32_t kv_begin = 0, kv_end = 1;
  friend bool operator==(const DraftPiece&, const DraftPiece&) = default;
};

enum class DraftMerge : std::uint8_t { launch, programmatic, on_arrival };

/// Pieces in launch order. One launch of one phase a kernel, in the order in which kernels first appear; or,
/// `side_by_side` (only where merging is not on arrival), a launch a kernel on streams of their own. `persistent`: the
/// pieces of the one launch are dealt, in order, to as many workers as the device holds, each to the worker with the
/// least estimated work.
struct PlanDraft {
  std::vector<DraftPiece> pieces;
  DraftMerge merge = DraftMerge::launch;
  bool side_by_side = false;
  bool persistent = false;
  friend bool operator==(const PlanDraft&, const PlanDraft&) = default;
};

struct DraftKernel {
  costmodel::KernelConfig config;
  std::int32_t queries = 1;    ///< requests of a full tile
  std::int32_t residents = 1;  ///< CTAs an SM holds
};

/// What drafts are made for, and of.
struct DraftSpace {
  const traces::PrefixForest& forest;
  const traces::HeadConfig& heads;
  const costmodel::DeviceSpec& device;
  std::vector<DraftKernel> kernels;  ///< our attention kernels that fit, by rising query tile; then by name
};
/// Throws Error (check failed) when none of our kernels fits the device.
DraftSpace make_draft_space(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                            const costmodel::DeviceSpec& device);

/// Requests of [begin, end) under a node.
std::int32_t seen_by(const traces::PrefixForest& forest, NodeId node, RequestId begin, RequestId end);
/// Requests that see some token of the piece, ascending.
std::vector<RequestId> readers_of(const traces::PrefixForest& forest, const DraftPiece& piece);
std::int64_t piece_tokens(const DraftPiece& piece);
/// Time of one CTA of the piece at a fair share of the device; orders pieces and balances queues, never judges a plan.
double estimated_us(const DraftSpace& space, const DraftPiece& piece);

/// The plan, sealed. The draft must cover every (request, token, KV head) once and fit the kernels' query tiles.
scheduler::Plan emit_draft(const DraftSpace& space, const PlanDraft& draft);
/// The draft with the plan's pieces, kernels and order; merges in several rounds become one. Nothing when a task is not
/// one-pass attention in one of the space's kernels, or leaves out a request that its interval would include.
std::optional<PlanDraft> draft_of(const DraftSpace& space, const scheduler::Plan& plan);

}  // namespace espalier::sim
