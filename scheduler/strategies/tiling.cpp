#include "scheduler/strategies/tiling.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <memory>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "core/units.h"
#include "scheduler/strategies/length_classes.h"
#include "scheduler/strategies/node_boxes.h"

namespace espalier::scheduler::planning {

using traces::PrefixForest;

namespace {

/// A node as one tile reads it, for requests [begin, end).
struct Reading {
  NodeId node;
  std::int32_t begin, end;
};

/// What the tiles of one layer read, tile after tile from the first on.
class TileReader {
 public:
  TileReader(const PrefixForest& forest, const Cover& cover, std::size_t height)
      : forest_(forest), height_(cover.height.empty() ? nullptr : cover.height.data()), own_(height),
        list_(std::make_unique_for_overwrite<Reading[]>(forest.node_count())) {}

  /// Of the tile of requests [begin, end), in depth-first order. Valid until the next call.
  std::span<const Reading> read(std::int32_t begin, std::int32_t end) {
    const RequestId* const first = forest_.request_begin.raw().data();
    const RequestId* const last = forest_.request_end.raw().data();
    const auto is_own = [&](std::size_t n) { return height_ == nullptr || height_[n] == own_; };
    Reading* at = list_.get();
    // First the nodes that tiles before have begun.
    for (NodeId n = forest_.leaf[RequestId(begin)]; n.valid(); n = forest_.parent[n]) {
      if (first[n.index()].value < begin && is_own(n.index())) *at++ = {n, begin, std::min(end, last[n.index()].value)};
    }
    std::reverse(list_.get(), at);
    const std::size_t nodes = forest_.node_count();
    std::size_t n = next_;
    for (; n < nodes && first[n].value < end; ++n) {
      if (is_own(n)) *at++ = {NodeId(n), first[n].value, std::min(end, last[n].value)};
    }
    next_ = n;
    return {list_.get(), at};
  }

 private:
  const PrefixForest& forest_;
  const std::uint8_t* height_;  ///< of each node; null: all are of this layer
  std::size_t own_;
  std::size_t next_ = 0;  ///< first node that no tile has begun
  std::unique_ptr<Reading[]> list_;
};

class Cutter {
 public:
  explicit Cutter(const PrefixForest& forest) : forest_(forest) {
    // Every node is read, some by several tiles, and cuts add some segments more.
    out.segments.reserve(forest.node_count() + forest.node_count() / 4 + 64);
    out.pieces.reserve(64);
  }

  void open(std::span<const Reading> readings) {
    readings_ = readings;
    at_ = 0;
    offset_ = 0;
  }

  void tile(std::span<const Reading> readings, const PieceLengths& lengths, std::size_t height) {
    open(readings);
    for (std::int64_t i = 0; i + 1 < lengths.count; ++i) {
      take(lengths.each + (i < lengths.longer ? lengths.more : 0), height);
    }
    take(lengths.last, height);
  }

  TilePieces out;

  /// Appends the open tile's next tokens as a piece.
  void take(std::int64_t tokens, std::size_t height) {
    TilePiece piece;
    piece.first = out.segments.size();
    piece.tokens = tokens;
    piece.height = height;
    piece.begin = readings_[at_].begin;
    piece.end = piece.begin;
    const Reading* at = readings_.data() + at_;
    std::int64_t offset = offset_;
    while (tokens > 0) {
      const Reading reading = *at;
      const std::int64_t node_tokens = forest_.tokens[reading.node], end = std::min(node_tokens, offset + tokens);
      const bool whole = end == node_tokens;
      out.segments.push_back({reading.node, static_cast<std::int32_t>(offset),
                              whole ? kToNodeEnd : static_cast<std::int32_t>(end), reading.begin, reading.end});
      // In depth-first order readers begin ever later, so a gap is seen when it is passed.
      piece.gaps = piece.gaps || reading.begin > piece.end;
      piece.end = std::max(piece.end, reading.end);
      tokens -= end - offset;
      offset = whole ? 0 : end;
      at += whole ? 1 : 0;
    }
    at_ = static_cast<std::size_t>(at - readings_.data());
    offset_ = offset;
    piece.last = out.segments.size();
    out.pieces.push_back(piece);
  }

 private:
  const PrefixForest& forest_;
  std::span<const Reading> readings_;
  std::size_t at_ = 0;
  std::int64_t offset_ = 0;
};

/// Longest first; of alike lengths by place in the forest, so that readers of the same tokens run together.
struct DispatchKey {
  std::uint64_t length_node = 0;  ///< class of length, the longest first; node
  std::uint64_t token_begin = 0;  ///< first token; first request

  std::uint64_t length() const { return length_node >> 32; }
  bool reads_with(const DispatchKey& o) const {
    return length_node == o.length_node && token_begin >> 32 == o.token_begin >> 32;
  }
};

/// Who shares what it reads with many computes, who is alone reads: pieces of one length are reordered so that both go
/// on all the time. Readers of the same tokens stay together.
void mix_reuse(const std::vector<DispatchKey>& keys, std::span<std::uint32_t> order) {
  struct Group {
    std::size_t begin, end;
    std::uint64_t at;
    std::size_t readers() const { return end - begin; }
  };
  std::vector<Group> groups;
  groups.reserve(order.size());
  std::array<std::uint64_t, 64> pieces{};  // by binary order of the readers of their group
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && keys[order[end]].reads_with(keys[order[begin]])) ++end;
    std::uint64_t& before = pieces[static_cast<std::size_t>(std::bit_width(end - begin))];
    groups.push_back({begin, end, 2 * before + (end - begin)});
    before += end - begin;
  }
  if (pieces[static_cast<std::size_t>(std::bit_width(groups[0].readers()))] == order.size()) return;
  for (Group& g : groups) g.at = (g.at << 24) / pieces[static_cast<std::size_t>(std::bit_width(g.readers()))];
  std::sort(groups.begin(), groups.end(),
            [](const Group& a, const Group& b) { return std::pair(a.at, a.begin) < std::pair(b.at, b.begin); });
  const std::vector<std::uint32_t> before(order.begin(), order.end());
  auto to = order.begin();
  for (const Group& g : groups) {
    to = std::copy(before.begin() + static_cast<std::ptrdiff_t>(g.begin),
                   before.begin() + static_cast<std::ptrdiff_t>(g.end), to);
  }
}

/// Pieces that begin where a longer one does come with it, unless they are much shorter: their tokens are read once.
void join_readers(const TilePieces& cut, std::vector<DispatchKey>& keys) {
  struct Reader {
    std::uint64_t place;  ///< node and first token
    std::size_t height;
    std::int64_t tokens;
    std::uint32_t piece;
  };
  std::vector<Reader> readers(keys.size());
  for (std::uint32_t i = 0; i < readers.size(); ++i) {
    readers[i] = {keys[i].length_node << 32 | keys[i].token_begin >> 32, cut.pieces[i].height, cut.pieces[i].tokens, i};
  }
  std::sort(readers.begin(), readers.end(), [](const Reader& a, const Reader& b) {
    return std::tie(a.place, a.height, b.tokens, a.piece) < std::tie(b.place, b.height, a.tokens, b.piece);
  });
  const Reader* longest = readers.data();
  for (const Reader& reader : readers) {
    if (reader.place != longest->place || reader.height != longest->height) longest = &reader;
    if (4 * reader.tokens >= 3 * longest->tokens) {
      keys[reader.piece].length_node = keys[longest->piece].length_node;
    }
  }
}

}  // namespace

PieceLengths piece_lengths(std::int64_t tokens, const PieceCut& cut) {
  PieceLengths lengths;
  lengths.count = std::max<std::int64_t>(1, (tokens + cut.tokens / 2) / cut.tokens);
  lengths.each = cut.tokens;
  if (cut.even_tile > 0) {
    const std::int64_t tiles = core::ceil_div(tokens, cut.even_tile);
    lengths.each = tiles / lengths.count * cut.even_tile;
    lengths.longer = tiles % lengths.count;
    lengths.more = cut.even_tile;
    if (cut.tapered && lengths.longer + 2 <= lengths.count && lengths.each > cut.even_tile) ++lengths.longer;
  }
  lengths.last = tokens - (lengths.count - 1) * lengths.each - lengths.longer * lengths.more;
  return lengths;
}

std::array<std::int64_t, kMaxHeights> count_pieces(const TileLayer& layer, std::span<const PieceCut> cuts) {
  std::array<std::int64_t, kMaxHeights> pieces{};
  for_cut_runs(layer, cuts, [&](const TileRun& run, const PieceLengths& lengths) {
    pieces[run.height] += run.tokens > 0 ? run.tiles * lengths.count : 0;
  });
  return pieces;
}

TilePieces cut_tiles(const PrefixForest& forest, const Cover& cover, const std::vector<PieceCut>& cuts) {
  Cutter cutter(forest);
  for (std::size_t h = 0; h < cover.layers.size(); ++h) {
    const TileLayer& layer = cover.layers[h];
    if (layer.borders.empty()) continue;
    TileReader reader(forest, cover, h);
    std::size_t t = 0;
    for_cut_runs(layer, cuts, [&](const TileRun& run, const PieceLengths& lengths) {
      for (std::int32_t i = 0; i < run.tiles; ++i, ++t) {
        const std::span<const Reading> readings = reader.read(layer.borders[t], layer.borders[t + 1]);
        if (run.tokens > 0) cutter.tile(readings, lengths, run.height);
      }
    });
  }
  return std::move(cutter.out);
}

TilePieces cut_box_cover(const PrefixForest& forest, const Runs& runs, std::int32_t queries, const PieceCut& cut) {
  Cutter cutter(forest);
  std::vector<Reading> chain;
  for (const Run& run : runs.runs) {
    for (std::int32_t begin = run.begin.value; begin < run.end.value; begin += queries) {
      chain.clear();
      for (NodeId n = run.chain.last;; n = forest.parent[n]) {
        chain.push_back({n, begin, std::min(begin + queries, run.end.value)});
        if (n == run.chain.top) break;
      }
      std::reverse(chain.begin(), chain.end());
      if (run.chain.tokens > 0) cutter.tile(chain, piece_lengths(run.chain.tokens, cut), 0);
    }
  }
  return std::move(cutter.out);
}

TilePieces cut_shares(const PrefixForest& forest, const Cover& cover, std::int32_t kv_tile,
                      std::span<const Share> shares) {
  ESPALIER_CHECK_OP(cover.layers.size(), ==, 1u);
  Cutter cutter(forest);
  const TileLayer& layer = cover.layers[0];
  TileReader reader(forest, cover, 0);
  auto share = shares.begin();
  std::size_t t = 0;
  for (const TileRun& run : layer.runs) {
    for (std::int32_t i = 0; i < run.tiles; ++i, ++t) {
      const std::span<const Reading> readings = reader.read(layer.borders[t], layer.borders[t + 1]);
      if (share == shares.end() || static_cast<std::size_t>(share->tile) != t) continue;
      cutter.open(readings);
      for (; share != shares.end() && static_cast<std::size_t>(share->tile) == t; ++share) {
        cutter.take(std::min(run.tokens, share->end * kv_tile) - share->begin * kv_tile, 0);
      }
    }
  }
  return std::move(cutter.out);
}

double cut_rows(const TileRun& run, const PieceLengths& lengths) {
  const double all = static_cast<double>(lengths.count);
  const double length = static_cast<double>(lengths.each) + static_cast<double>(lengths.longer * lengths.more) / all;
  if (run.requests == 1) return all;
  const double requests = run.requests, context = static_cast<double>(run.logical) / requests;
  const double tail = (static_cast<double>(run.tokens) - context) / (requests - 1), prefix = context - tail;
  const double shared = std::min(all, std::ceil(prefix / length));
  if (shared == all) return requests * all;  // the last piece takes what is over, so it may end long after the prefix
  const double begun = tail > 0 ? (shared * length - prefix) / tail : requests;
  return requests * shared + (all - shared) + std::max(0.0, requests - 1 - begun);
}

std::vector<std::uint32_t> dispatch_order(const TilePieces& cut, Dispatch dispatch) {
  std::vector<std::uint32_t> order(cut.pieces.size());
  std::vector<DispatchKey> keys(cut.pieces.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    const TilePiece& piece = cut.pieces[i];
    order[i] = static_cast<std::uint32_t>(i);
    const Segment& s = cut.segments[piece.first];
    keys[i] = {static_cast<std::uint64_t>(kLengthClasses - length_class(piece.tokens)) << 32 |
                   static_cast<std::uint32_t>(s.node.value),
               static_cast<std::uint64_t>(s.token_begin) << 32 | static_cast<std::uint32_t>(piece.begin)};
  }
  if (dispatch == Dispatch::joined) join_readers(cut, keys);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return std::tie(keys[a].length_node, keys[a].token_begin, a) <
           std::tie(keys[b].length_node, keys[b].token_begin, b);
  });
  if (dispatch != Dispatch::mixed) return order;
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && keys[order[end]].length() == keys[order[begin]].length()) ++end;
    mix_reuse(keys, std::span(order).subspan(begin, end - begin));
  }
  return order;
}

void queue_lanes(PlanBuilder& builder, TaskId first, std::span<const Share> shares, std::int32_t copies) {
  std::vector<QueueItem> items;
  std::vector<std::size_t> ends;
  items.reserve(shares.size() * static_cast<std::size_t>(copies));
  ends.reserve(static_cast<std::size_t>((shares.back().lane + 1) * copies));
  for (std::size_t begin = 0, end = 0; begin < shares.size(); begin = end) {
    while (end < shares.size() && shares[end].lane == shares[begin].lane) ++end;
    for (std::int32_t c = 0; c < copies; ++c) {
      for (std::size_t i = begin; i < end; ++i) {
        items.push_back({TaskId(first.value + static_cast<std::int32_t>(i)), c});
      }
      ends.push_back(items.size());
    }
  }
  builder.queues(items, ends);
}

TaskId emit_piece(PlanBuilder& builder, KernelId kernel, TilePieces& from, const TilePiece& piece) {
  const std::span<Segment> segments(from.segments.data() + piece.first, piece.last - piece.first);
  if (!piece.gaps) {
    for (Segment& s : segments) s.row_begin -= piece.begin, s.row_end -= piece.begin;
    return builder.attend(kernel, segments, builder.queries(RequestId(piece.begin), RequestId(piece.end)));
  }
  std::vector<std::int32_t> row(static_cast<std::size_t>(piece.end - piece.begin) + 1,
                                0);  // first 1 where a request sees something
  for (const Segment& s : segments) {
    std::fill(row.begin() + (s.row_begin - piece.begin) + 1, row.begin() + (s.row_end - piece.begin) + 1, 1);
  }
  std::vector<RequestId> list;
  for (std::size_t i = 1; i < row.size(); ++i) {
    if (row[i] != 0) list.push_back(RequestId(piece.begin + static_cast<std::int32_t>(i) - 1));
    row[i] += row[i - 1];
  }
  for (Segment& s : segments) {
    s.row_begin = row[static_cast<std::size_t>(s.row_begin - piece.begin)];
    s.row_end = row[static_cast<std::size_t>(s.row_end - piece.begin)];
  }
  return builder.attend(kernel, segments, builder.queries(list));
}

}  // namespace espalier::scheduler::planning
