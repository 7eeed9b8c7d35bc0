// Shared parts of the strategies; see the header.
#include "scheduler/strategies/common.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/error.h"

namespace espalier::scheduler::planning {

using costmodel::KernelConfig;
using traces::PrefixForest;

void refuse(RefusalClass refusal, std::string sentence) { throw Refused{{refusal, std::move(sentence)}}; }

void require_at_most(std::string_view what, std::int64_t count, std::int64_t limit) {
  if (count > limit) {
    refuse(RefusalClass::size, fmt::format("the plan would have {} {}, more than {}", count, what, limit));
  }
}

std::int64_t path_rows(const PrefixForest& forest) {
  std::int64_t rows = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) rows += forest.readers(n);
  return rows;
}

bool shares_anything(const PrefixForest& forest) {
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    if (forest.readers(n) > 1) return true;
  }
  return false;
}

bool may_use(const PlanRequest& request, const KernelConfig& kernel) {
  const std::vector<std::string>& only = request.only_kernels;
  return only.empty() || std::find(only.begin(), only.end(), kernel.name) != only.end();
}

namespace {

/// our_attend_kernel() among the kernels that the request allows.
const KernelConfig& allowed_kernel(const PlanRequest& request, std::int64_t rows) {
  const KernelConfig* chosen = nullptr;
  for (const KernelConfig& kernel : costmodel::kernel_catalog()) {
    if (kernel.role != costmodel::KernelRole::attend || !may_use(request, kernel)) continue;
    if (!costmodel::fits_device(kernel, request.heads, request.device)) continue;
    // The smallest that holds the rows; while none does, the largest. Of equal tiles the first of the catalog.
    const bool better = chosen == nullptr || (chosen->query_tile < rows ? kernel.query_tile > chosen->query_tile
                                                                        : kernel.query_tile >= rows &&
                                                                              kernel.query_tile < chosen->query_tile);
    if (better) chosen = &kernel;
  }
  if (chosen == nullptr) {
    refuse(RefusalClass::kernel, fmt::format("none of the kernels allowed fits {}", request.device.name));
  }
  return *chosen;
}

}  // namespace

const KernelConfig& our_kernel(const PlanRequest& request, std::int64_t rows) {
  if (!request.only_kernels.empty()) return allowed_kernel(request, rows);
  try {
    return costmodel::our_attend_kernel(rows, request.heads, request.device);
  } catch (const core::Error& error) {
    if (error.kind() != core::ErrorKind::check_failed) throw;
    refuse(RefusalClass::kernel, error.what());
  }
}

std::vector<const KernelConfig*> our_kernels(const PlanRequest& request) {
  std::vector<const KernelConfig*> kernels;
  if (request.only_kernels.empty()) kernels = costmodel::our_attend_kernels(request.heads, request.device);
  if (!kernels.empty()) return kernels;
  for (const KernelConfig* next = &our_kernel(request, 1);
       kernels.empty() || next->query_tile > kernels.back()->query_tile;
       next = &our_kernel(request, kernels.back()->query_tile + 1)) {
    kernels.push_back(next);
  }
  return kernels;
}

std::vector<const KernelConfig*> our_variants(const PlanRequest& request, const KernelConfig& usual) {
  // A family is what shares the name up to the tile's size: espalier_mma_m16, espalier_mma_m16_n32, …
  const std::string family = usual.name.substr(0, usual.name.rfind("_m") + 2);
  std::vector<const KernelConfig*> variants = {&usual};
  for (const KernelConfig& kernel : costmodel::kernel_catalog()) {
    const bool same =
        kernel.role == usual.role && kernel.query_tile == usual.query_tile && kernel.name.starts_with(family);
    if (same && kernel.name != usual.name && may_use(request, kernel) &&
        costmodel::fits_device(kernel, request.heads, request.device)) {
      variants.push_back(&kernel);
    }
  }
  return variants;
}

const KernelConfig& published_kernel(const PlanRequest& request, std::string_view name) {
  const KernelConfig& kernel = costmodel::find_kernel(name);
  std::string reason = costmodel::unfit_reason(kernel, request.heads, request.device);
  if (!reason.empty()) refuse(RefusalClass::kernel, std::move(reason));
  return kernel;
}

const KernelConfig& published_kernel_by_dim(const PlanRequest& request, std::string_view name) {
  const std::int32_t dim = request.heads.qk_dim;
  const std::string_view suffix = dim <= 64 ? "_n256" : dim <= 128 ? "" : "_n64";
  return published_kernel(request, fmt::format("{}{}", name, suffix));
}

const KernelConfig& reduce_kernel(const PlanRequest& request, std::string_view published_name) {
  return request.kernels == KernelSet::ours ? costmodel::our_reduce_kernel()
                                            : published_kernel(request, published_name);
}

Provenance provenance(const StrategyInfo& info, const PlanRequest& request) {
  Provenance from;
  from.strategy = info.name;
  for (const auto& [name, value] : request.options) from.options[name] = fmt::format("{}", value);
  if (info.uses_cost_model) from.cost_model = request.cost_model;
  from.device = request.device.name;
  from.kernels = request.kernels == KernelSet::ours ? "ours" : "published";
  if (!request.only_kernels.empty()) from.options["kernels"] = core::join(request.only_kernels, "+");
  from.seed = request.seed;
  return from;
}

Plan empty_plan(const StrategyInfo& info, const PlanRequest& request) {
  Provenance from = provenance(info, request);
  from.why.push_back("there are no requests: nothing to do");
  return PlanBuilder(request.forest, request.heads).finish(std::move(from));
}

Route::Route(const PrefixForest& forest, std::vector<NodeId> nodes) : nodes_(std::move(nodes)) {
  ends_.reserve(nodes_.size());
  std::int64_t end = 0;
  for (const NodeId n : nodes_) ends_.push_back(end += forest.tokens[n]);
}

void Route::cut(const PlanBuilder& builder, std::int64_t begin, std::int64_t end, std::int32_t rows,
                std::vector<Segment>& out) const {
  ESPALIER_CHECK(begin >= 0 && begin < end && end <= tokens());
  auto i = static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin());
  for (std::int64_t at = begin; at < end; ++i) {
    const std::int64_t node_begin = i == 0 ? 0 : ends_[i - 1];
    const std::int64_t stop = std::min(end, ends_[i]);
    out.push_back(builder.segment(nodes_[i], at - node_begin, stop - node_begin, rows));
    at = stop;
  }
}

void emit_pieces(PlanBuilder& builder, KernelId kernel, std::span<const Route> routes, std::span<const Piece> pieces,
                 std::span<QueryTile> tiles) {
  std::vector<Segment> segments;
  for (const Piece& piece : pieces) {
    QueryTile& tile = tiles[piece.tile];
    segments.clear();
    routes[piece.route].cut(builder, piece.begin, piece.end, tile.end.value - tile.begin.value, segments);
    tile.tasks.push_back(builder.attend(kernel, segments, builder.queries(tile.begin, tile.end)));
  }
}

void merge_launch(PlanBuilder& builder, KernelId kernel, StepId begin, Follow follow, std::span<const LaunchId> after) {
  if (begin == builder.next_step()) return;
  builder.launch(follow, 0, after);
  builder.step_phase(kernel, begin);
}

void merge_rows(const PlanRequest& request, PlanBuilder& builder, StepId begin, const FinalMerge& merge) {
  builder.finish_rows(merge.dtype);
  const bool in_place = request.kernels == KernelSet::ours && builder.plan().launches.size() == 1;
  if (!in_place) {
    merge_launch(builder, merge.kernel, begin, merge.follow, merge.after);
  } else if (begin < builder.next_step()) {
    builder.step_phase(merge.kernel, begin, PhaseStart::on_arrival);
  }
}

Slot partial_slot(const Plan& plan, Interval queries, traces::Dtype dtype) {
  Slot slot;
  slot.queries = queries;
  slot.head_count = plan.heads.q_heads;
  slot.dtype = dtype;
  slot.columns = plan.heads.v_dim;
  return slot;
}

}  // namespace espalier::scheduler::planning
