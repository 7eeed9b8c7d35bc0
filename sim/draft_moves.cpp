// Cutting, joining and opening drafts; random moves are in draft_mutation.cpp.
#include "sim/draft_moves.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/error.h"
#include "core/units.h"

namespace espalier::sim {
namespace {

/// Shrinks the interval to the requests that see something.
void trim(const DraftSpace& space, DraftPiece& piece) {
  RequestId begin = piece.end, end = piece.begin;
  for (const DraftSpan& span : piece.spans) {
    begin = std::min(begin, std::max(piece.begin, space.forest.request_begin[span.node]));
    end = std::max(end, std::min(piece.end, space.forest.request_end[span.node]));
  }
  piece.begin = begin;
  piece.end = end;
}

DraftPiece like(const DraftPiece& piece, RequestId begin, RequestId end) {
  return {begin, end, {}, piece.kernel, piece.kv_begin, piece.kv_end};
}

bool fits(const DraftSpace& space, const DraftPiece& piece) {
  const std::int32_t most = space.kernels[static_cast<std::size_t>(piece.kernel)].queries;
  if (piece.end.value - piece.begin.value <= most) return true;
  return readers_of(space.forest, piece).size() <= static_cast<std::size_t>(most);
}

/// Joins what two pieces read of one node, [begin, end) of both lists; false when someone would read what it shouldn't.
class SpanJoin {
 public:
  SpanJoin(const DraftSpace& space, const DraftPiece& a, const DraftPiece& b, DraftPiece& out)
      : forest_(space.forest), a_(a), b_(b), out_(out) {}

  bool run() {
    std::size_t i = 0, j = 0;
    while (i < a_.spans.size() || j < b_.spans.size()) {
      const bool in_a = i < a_.spans.size(), in_b = j < b_.spans.size();
      const NodeId node = !in_b || (in_a && a_.spans[i].node <= b_.spans[j].node) ? a_.spans[i].node : b_.spans[j].node;
      const std::size_t first_i = i, first_j = j;
      while (i < a_.spans.size() && a_.spans[i].node == node) ++i;
      while (j < b_.spans.size() && b_.spans[j].node == node) ++j;
      if (!join_node(node, std::span(a_.spans).subspan(first_i, i - first_i),
                     std::span(b_.spans).subspan(first_j, j - first_j))) {
        return false;
      }
    }
    return true;
  }

 private:
  bool join_node(NodeId node, std::span<const DraftSpan> from_a, std::span<const DraftSpan> from_b) {
    const std::int32_t seen_a = seen_by(forest_, node, a_.begin, a_.end),
                       seen_b = seen_by(forest_, node, b_.begin, b_.end);
    const std::int32_t wanted = seen_by(forest_, node, out_.begin, out_.end);
    std::vector<std::int32_t> borders;
    for (const auto& list : {from_a, from_b}) {
      for (const DraftSpan& span : list) borders.insert(borders.end(), {span.begin, span.end});
    }
    std::sort(borders.begin(), borders.end());
    borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
    const auto covers = [](std::span<const DraftSpan> list, std::int32_t token) {
      return std::any_of(list.begin(), list.end(),
                         [&](const DraftSpan& s) { return s.begin <= token && token < s.end; });
    };
    for (std::size_t k = 0; k + 1 < borders.size(); ++k) {
      const bool in_a = covers(from_a, borders[k]), in_b = covers(from_b, borders[k]);
      if (!in_a && !in_b) continue;
      if ((in_a ? seen_a : 0) + (in_b ? seen_b : 0) != wanted) return false;
      std::vector<DraftSpan>& spans = out_.spans;
      if (!spans.empty() && spans.back().node == node && spans.back().end == borders[k]) {
        spans.back().end = borders[k + 1];
      } else {
        spans.push_back({node, borders[k], borders[k + 1]});
      }
    }
    return true;
  }

  const traces::PrefixForest& forest_;
  const DraftPiece &a_, &b_;
  DraftPiece& out_;
};

}  // namespace

std::pair<DraftPiece, DraftPiece> split_tokens(const DraftSpace& space, const DraftPiece& piece, std::int64_t tokens) {
  DraftPiece left = like(piece, piece.begin, piece.end), right = left;
  for (const DraftSpan& span : piece.spans) {
    const auto here = static_cast<std::int32_t>(std::clamp<std::int64_t>(tokens, 0, span.tokens()));
    if (here > 0) left.spans.push_back({span.node, span.begin, span.begin + here});
    if (here < span.tokens()) right.spans.push_back({span.node, span.begin + here, span.end});
    tokens -= here;
  }
  ESPALIER_CHECK(!left.spans.empty() && !right.spans.empty());
  trim(space, left);
  trim(space, right);
  return {std::move(left), std::move(right)};
}

std::optional<std::pair<DraftPiece, DraftPiece>> split_requests(const DraftSpace& space, const DraftPiece& piece,
                                                                RequestId border) {
  if (border <= piece.begin || piece.end <= border) return std::nullopt;
  DraftPiece low = like(piece, piece.begin, border), high = like(piece, border, piece.end);
  for (const DraftSpan& span : piece.spans) {
    if (seen_by(space.forest, span.node, low.begin, low.end) > 0) low.spans.push_back(span);
    if (seen_by(space.forest, span.node, high.begin, high.end) > 0) high.spans.push_back(span);
  }
  if (low.spans.empty() || high.spans.empty()) return std::nullopt;
  trim(space, low);
  trim(space, high);
  return std::pair(std::move(low), std::move(high));
}

std::optional<DraftPiece> merge_pieces(const DraftSpace& space, const DraftPiece& a, const DraftPiece& b) {
  if (a.kv_begin != b.kv_begin || a.kv_end != b.kv_end) {
    // The same reads for neighbouring heads.
    const bool touch = a.kv_end == b.kv_begin || b.kv_end == a.kv_begin;
    if (!touch || a.begin != b.begin || a.end != b.end || a.spans != b.spans) return std::nullopt;
    DraftPiece joined = a;
    joined.kv_begin = std::min(a.kv_begin, b.kv_begin);
    joined.kv_end = std::max(a.kv_end, b.kv_end);
    return joined;
  }
  DraftPiece joined = like(a, std::min(a.begin, b.begin), std::max(a.end, b.end));
  if (!SpanJoin(space, a, b, joined).run()) return std::nullopt;
  if (fits(space, joined)) return joined;
  joined.kernel = b.kernel;
  if (fits(space, joined)) return joined;
  return std::nullopt;
}

std::vector<DraftPiece> cut_evenly(const DraftSpace& space, const DraftPiece& piece, std::int64_t parts) {
  const std::int64_t tile = space.kernels[static_cast<std::size_t>(piece.kernel)].config.kv_tile;
  const std::int64_t tiles = core::ceil_div(piece_tokens(piece), tile);
  parts = std::clamp<std::int64_t>(parts, 1, tiles);
  std::vector<DraftPiece> pieces;
  DraftPiece rest = piece;
  for (std::int64_t p = 0; p + 1 < parts; ++p) {
    const std::int64_t size = tiles / parts + (p < tiles % parts ? 1 : 0);
    auto [first, last] = split_tokens(space, rest, size * tile);
    pieces.push_back(std::move(first));
    rest = std::move(last);
  }
  pieces.push_back(std::move(rest));
  return pieces;
}

void sort_longest_first(const DraftSpace& space, PlanDraft& draft) {
  std::vector<std::pair<double, std::size_t>> keys;
  for (std::size_t i = 0; i < draft.pieces.size(); ++i) keys.emplace_back(-estimated_us(space, draft.pieces[i]), i);
  std::sort(keys.begin(), keys.end(), [&](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first < b.first;
    return std::tuple(draft.pieces[a.second].spans.front(), draft.pieces[a.second].begin, a.second) <
           std::tuple(draft.pieces[b.second].spans.front(), draft.pieces[b.second].begin, b.second);
  });
  std::vector<DraftPiece> sorted;
  sorted.reserve(keys.size());
  for (const auto& [us, i] : keys) sorted.push_back(std::move(draft.pieces[i]));
  draft.pieces = std::move(sorted);
}

std::vector<Opening> openings(const DraftSpace& space) {
  std::vector<Opening> all;
  for (std::size_t k = 0; k < space.kernels.size(); ++k) {
    // The first of a tile height: variants of KV tile and stages are for the moves.
    if (k > 0 && space.kernels[k].config.query_tile == space.kernels[k - 1].config.query_tile) continue;
    for (const bool masked : {true, false}) {
      for (const double pieces : {0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0}) {
        for (const DraftMerge merge : {DraftMerge::on_arrival, DraftMerge::launch}) {
          all.push_back({static_cast<std::int32_t>(k), masked, pieces, merge});
        }
      }
    }
  }
  return all;
}

PlanDraft open_draft(const DraftSpace& space, const Opening& opening) {
  const traces::PrefixForest& forest = space.forest;
  const DraftKernel& kernel = space.kernels[static_cast<std::size_t>(opening.kernel)];
  std::vector<DraftPiece> tiles;
  const auto tile_over = [&](RequestId begin, RequestId end) {
    for (RequestId r = begin; r < end; r.value += kernel.queries) {
      tiles.push_back(
          {r, std::min(end, RequestId(r.value + kernel.queries)), {}, opening.kernel, 0, space.heads.kv_heads});
    }
  };
  if (opening.masked) tile_over(RequestId(0), RequestId(forest.request_count()));
  std::size_t run = 0;  // first tile of the nodes that the last run has
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const NodeId parent = forest.parent[n];
    const bool goes_on = n.value > 0 && parent.value == n.value - 1 && forest.readers(parent) == forest.readers(n);
    if (!opening.masked && !goes_on) {
      run = tiles.size();
      tile_over(forest.request_begin[n], forest.request_end[n]);
    }
    for (std::size_t t = run; t < tiles.size(); ++t) {
      if (seen_by(forest, n, tiles[t].begin, tiles[t].end) == 0) continue;
      tiles[t].spans.push_back({n, 0, static_cast<std::int32_t>(forest.tokens[n])});
    }
  }
  double tokens = 0;
  for (const DraftPiece& tile : tiles) tokens += static_cast<double>(piece_tokens(tile));
  const double slots = space.device.sms * kernel.residents / space.heads.kv_heads;
  PlanDraft draft;
  draft.merge = opening.merge;
  for (const DraftPiece& tile : tiles) {
    const double share = static_cast<double>(piece_tokens(tile)) / tokens;
    const double parts = std::max(1.0, std::round(share * slots * opening.pieces_per_slot));
    for (DraftPiece& piece : cut_evenly(space, tile, static_cast<std::int64_t>(parts))) {
      draft.pieces.push_back(std::move(piece));
    }
  }
  sort_longest_first(space, draft);
  return draft;
}

}  // namespace espalier::sim
