// Random moves: one change of a draft at a time, drawn from a fixed table.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/units.h"
#include "sim/draft_moves.h"

namespace espalier::sim {
namespace {

/// Pieces beyond which no move cuts any more: plans of a million tasks are out of reach of a search anyway.
constexpr std::size_t kMostPieces = 100'000;
/// Partners that a merge tries before it gives up.
constexpr std::size_t kMostPartners = 256;

class Mutation {
 public:
  Mutation(const DraftSpace& space, PlanDraft& draft, core::Rng& rng)
      : space_(space), draft_(draft), pieces_(draft.pieces), rng_(rng) {}

  bool run() {
    struct Move {
      bool (Mutation::*apply)();
      int weight;
    };
    static constexpr Move kMoves[] = {
        {&Mutation::cut_tokens, 8},    {&Mutation::join, 8},           {&Mutation::shift_border, 8},
        {&Mutation::cut_requests, 4},  {&Mutation::transfer, 4},       {&Mutation::recut, 5},
        {&Mutation::change_kernel, 4}, {&Mutation::change_kernels, 2}, {&Mutation::reorder, 6},
        {&Mutation::sort, 1},          {&Mutation::restructure, 3},    {&Mutation::cut_heads, 2},
        {&Mutation::cut_long_ones, 1},
    };
    int total = 0;
    for (const Move& move : kMoves) total += move.weight;
    std::int64_t draw = rng_.integer(0, total - 1);
    for (const Move& move : kMoves) {
      if (draw < move.weight) return (this->*move.apply)();
      draw -= move.weight;
    }
    return false;
  }

 private:
  std::size_t any(std::size_t count) {
    return static_cast<std::size_t>(rng_.integer(0, static_cast<std::int64_t>(count) - 1));
  }
  std::int64_t tile(const DraftPiece& piece) const {
    return space_.kernels[static_cast<std::size_t>(piece.kernel)].config.kv_tile;
  }

  /// The longest of up to three: long pieces end last.
  std::size_t long_piece() {
    std::size_t best = any(pieces_.size());
    for (std::int64_t more = rng_.integer(0, 2); more > 0; --more) {
      const std::size_t other = any(pieces_.size());
      if (piece_tokens(pieces_[other]) > piece_tokens(pieces_[best])) best = other;
    }
    return best;
  }

  /// Beside `near`, where its length belongs, or anywhere.
  void insert(DraftPiece piece, std::size_t near) {
    std::size_t at = std::min(near + 1, pieces_.size());
    if (rng_.chance(0.5)) {
      const double us = estimated_us(space_, piece);
      at = 0;
      while (at < pieces_.size() && estimated_us(space_, pieces_[at]) >= us) ++at;
    } else if (rng_.chance(0.25)) {
      at = any(pieces_.size() + 1);
    }
    pieces_.insert(pieces_.begin() + static_cast<std::ptrdiff_t>(at), std::move(piece));
  }

  bool cut_at_random(std::size_t i) {
    const std::int64_t tokens = piece_tokens(pieces_[i]), tiles = core::ceil_div(tokens, tile(pieces_[i]));
    if (tiles < 2 || pieces_.size() >= kMostPieces) return false;
    const std::int64_t at = rng_.chance(0.4) ? (tiles + 1) / 2 : rng_.integer(1, tiles - 1);
    auto [left, right] = split_tokens(space_, pieces_[i], at * tile(pieces_[i]));
    pieces_[i] = std::move(left);
    insert(std::move(right), i);
    return true;
  }

  bool cut_tokens() { return cut_at_random(long_piece()); }

  /// Joins piece i with some other one; the index of the joint piece, or -1.
  std::int64_t join_with_another(std::size_t i) {
    const std::size_t count = pieces_.size(), start = any(count);
    for (std::size_t k = 0; k < std::min(count, kMostPartners); ++k) {
      const std::size_t j = (start + k) % count;
      if (j == i) continue;
      // Half the time only requests in common: they save a partial row.
      if (k % 2 == 0 && (pieces_[j].end <= pieces_[i].begin || pieces_[i].end <= pieces_[j].begin)) continue;
      std::optional<DraftPiece> joined = merge_pieces(space_, pieces_[i], pieces_[j]);
      if (!joined) continue;
      const std::size_t keep = std::min(i, j), drop = std::max(i, j);
      pieces_[keep] = std::move(*joined);
      pieces_.erase(pieces_.begin() + static_cast<std::ptrdiff_t>(drop));
      return static_cast<std::int64_t>(keep);
    }
    return -1;
  }

  bool join() { return join_with_another(any(pieces_.size())) >= 0; }

  bool shift_border() {
    const std::int64_t joined = join_with_another(long_piece());
    if (joined < 0) return false;
    (void)cut_at_random(static_cast<std::size_t>(joined));
    return true;
  }

  bool cut_requests() {
    const std::size_t i = any(pieces_.size());
    const std::int32_t wide = pieces_[i].end.value - pieces_[i].begin.value;
    if (wide < 2 || pieces_.size() >= kMostPieces) return false;
    auto parts = split_requests(
        space_, pieces_[i], RequestId(static_cast<std::int32_t>(pieces_[i].begin.value + rng_.integer(1, wide - 1))));
    if (!parts) return false;
    pieces_[i] = std::move(parts->first);
    insert(std::move(parts->second), i);
    return true;
  }

  /// A run of whole spans goes from one piece to another.
  bool transfer() {
    const std::size_t i = any(pieces_.size());
    if (pieces_[i].spans.size() < 2) return false;
    const std::size_t border = 1 + any(pieces_[i].spans.size() - 1);
    std::int64_t tokens = 0;
    for (std::size_t s = 0; s < border; ++s) tokens += pieces_[i].spans[s].tokens();
    auto [left, right] = split_tokens(space_, pieces_[i], tokens);
    if (rng_.chance(0.5)) std::swap(left, right);
    pieces_[i] = std::move(left);
    pieces_.push_back(std::move(right));
    if (join_with_another(pieces_.size() - 1) < 0 && rng_.chance(0.5)) {
      DraftPiece last = std::move(pieces_.back());
      pieces_.pop_back();
      insert(std::move(last), i);
    }
    return true;
  }

  /// All pieces of one interval and heads, cut anew into one part more or less, or any number.
  bool recut() {
    const DraftPiece model = pieces_[long_piece()];
    std::vector<std::size_t> same;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const DraftPiece& p = pieces_[i];
      if (p.begin == model.begin && p.end == model.end && p.kv_begin == model.kv_begin && p.kv_end == model.kv_end) {
        same.push_back(i);
      }
    }
    DraftPiece whole = pieces_[same[0]];
    for (std::size_t k = 1; k < same.size(); ++k) {
      std::optional<DraftPiece> joined = merge_pieces(space_, whole, pieces_[same[k]]);
      if (!joined) return false;
      whole = std::move(*joined);
    }
    const auto now = static_cast<std::int64_t>(same.size());
    const std::int64_t parts = rng_.chance(0.7) ? now + (rng_.chance(0.5) ? 1 : -1) : rng_.integer(1, 2 * now + 1);
    if (parts < 1 || parts == now || pieces_.size() + static_cast<std::size_t>(parts) > kMostPieces) return false;
    for (std::size_t k = same.size(); k-- > 0;) pieces_.erase(pieces_.begin() + static_cast<std::ptrdiff_t>(same[k]));
    std::vector<DraftPiece> cut = cut_evenly(space_, whole, parts);
    const auto at = static_cast<std::ptrdiff_t>(std::min(same[0], pieces_.size()));
    pieces_.insert(pieces_.begin() + at, std::make_move_iterator(cut.begin()), std::make_move_iterator(cut.end()));
    if (rng_.chance(0.7)) sort_longest_first(space_, draft_);
    return true;
  }

  std::int32_t other_kernel(std::int32_t rows, std::int32_t not_this) {
    std::vector<std::int32_t> fit;
    for (std::size_t k = 0; k < space_.kernels.size(); ++k) {
      const auto kernel = static_cast<std::int32_t>(k);
      if (space_.kernels[k].queries >= rows && kernel != not_this) fit.push_back(kernel);
    }
    return fit.empty() ? -1 : fit[any(fit.size())];
  }

  std::int32_t rows(const DraftPiece& piece) const {
    return static_cast<std::int32_t>(readers_of(space_.forest, piece).size());
  }

  bool change_kernel() {
    DraftPiece& piece = pieces_[any(pieces_.size())];
    const std::int32_t kernel = other_kernel(rows(piece), piece.kernel);
    if (kernel < 0) return false;
    piece.kernel = kernel;
    return true;
  }

  bool change_kernels() {
    const std::int32_t old = pieces_[any(pieces_.size())].kernel;
    std::int32_t most = 0;
    for (const DraftPiece& piece : pieces_) {
      if (piece.kernel == old) most = std::max(most, rows(piece));
    }
    const std::int32_t kernel = other_kernel(most, old);
    if (kernel < 0) return false;
    for (DraftPiece& piece : pieces_) {
      if (piece.kernel == old) piece.kernel = kernel;
    }
    return true;
  }

  bool reorder() {
    if (pieces_.size() < 2) return false;
    const auto from = static_cast<std::ptrdiff_t>(any(pieces_.size()));
    DraftPiece piece = std::move(pieces_[static_cast<std::size_t>(from)]);
    pieces_.erase(pieces_.begin() + from);
    const std::size_t to = rng_.chance(0.2) ? 0 : rng_.chance(0.25) ? pieces_.size() : any(pieces_.size() + 1);
    pieces_.insert(pieces_.begin() + static_cast<std::ptrdiff_t>(to), std::move(piece));
    return static_cast<std::ptrdiff_t>(to) != from;
  }

  bool sort() {
    sort_longest_first(space_, draft_);
    return true;
  }

  bool restructure() {
    switch (rng_.integer(0, 2)) {
      case 0:
        draft_.merge = static_cast<DraftMerge>((static_cast<int>(draft_.merge) + rng_.integer(1, 2)) % 3);
        break;
      case 1:
        draft_.side_by_side = !draft_.side_by_side;
        break;
      default:
        draft_.persistent = !draft_.persistent;
        break;
    }
    return true;
  }

  bool cut_heads() {
    const std::size_t i = long_piece();
    const std::int32_t heads = pieces_[i].kv_end - pieces_[i].kv_begin;
    if (heads < 2 || pieces_.size() >= kMostPieces) return false;
    DraftPiece rest = pieces_[i];
    pieces_[i].kv_end = rest.kv_begin = static_cast<std::int32_t>(rest.kv_begin + rng_.integer(1, heads - 1));
    insert(std::move(rest), i);
    return true;
  }

  /// Everything longer than a random multiple of the mean is cut evenly.
  bool cut_long_ones() {
    double tokens = 0;
    for (const DraftPiece& piece : pieces_) tokens += static_cast<double>(piece_tokens(piece));
    const double most = tokens / static_cast<double>(pieces_.size()) * (0.5 + 1.5 * rng_.uniform());
    std::vector<DraftPiece> cut;
    for (const DraftPiece& piece : pieces_) {
      const auto parts = static_cast<std::int64_t>(std::ceil(static_cast<double>(piece_tokens(piece)) / most));
      for (DraftPiece& part : cut_evenly(space_, piece, parts)) cut.push_back(std::move(part));
      if (cut.size() > kMostPieces) return false;
    }
    if (cut.size() == pieces_.size()) return false;
    pieces_ = std::move(cut);
    sort_longest_first(space_, draft_);
    return true;
  }

  const DraftSpace& space_;
  PlanDraft& draft_;
  std::vector<DraftPiece>& pieces_;
  core::Rng& rng_;
};

}  // namespace

bool mutate(const DraftSpace& space, PlanDraft& draft, core::Rng& rng) {
  PlanDraft changed = draft;
  if (!Mutation(space, changed, rng).run()) return false;
  draft = std::move(changed);
  return true;
}

}  // namespace espalier::sim
