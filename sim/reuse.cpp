// LRU stack distances of KV reads in launch order, by pieces of nodes cut at every segment border.
//
// A piece remembers the last task that read it; the distinct bytes touched since then are a prefix-sum difference over
// "who was the last reader of how many bytes" (Fenwick tree over the execution order): O(records log tasks).
#include "sim/reuse.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/units.h"
#include "sim/reading_order.h"

namespace espalier::sim {
namespace {

using scheduler::Plan;
using scheduler::Segment;
using scheduler::Task;
using scheduler::TaskId;
using scheduler::TaskKind;

/// Segments read by many tasks with unlike borders would cost tasks x borders records; a node beyond this many records
/// and this many a segment is cut on a grid instead, and a read touches every grid piece it overlaps.
constexpr std::int64_t kRecordsOfNode = 200'000;
constexpr std::int64_t kPiecesOfSegment = 16;

class Fenwick {
 public:
  explicit Fenwick(std::size_t n) : sums_(n + 1, 0.0) {}
  void add(std::size_t i, double amount) {
    for (++i; i < sums_.size(); i += i & (~i + 1)) sums_[i] += amount;
  }
  double prefix(std::size_t n) const {  ///< of the first n
    double sum = 0;
    for (; n > 0; n -= n & (~n + 1)) sum += sums_[n];
    return sum;
  }

 private:
  std::vector<double> sums_;
};

/// Nodes cut into pieces: borders of node n are tokens[first[n]] … tokens[first[n + 1] - 1], and piece k of it,
/// numbered first[n] + k, lies between borders k and k + 1 (the number of the last border is unused).
struct Pieces {
  std::vector<std::size_t> first;
  std::vector<std::int64_t> tokens;

  struct Range {
    std::size_t begin = 0, end = 0;
  };
  Range of(std::size_t node, std::int64_t begin, std::int64_t end) const {
    const auto low = tokens.begin() + static_cast<std::ptrdiff_t>(first[node]);
    const auto high = tokens.begin() + static_cast<std::ptrdiff_t>(first[node + 1]);
    const auto b = std::upper_bound(low, high, begin) - 1;
    const auto e = std::lower_bound(b, high, end);
    return {static_cast<std::size_t>(b - tokens.begin()), static_cast<std::size_t>(e - tokens.begin())};
  }
};

/// Calls visit(node, begin, end) for every non-empty segment of every turn.
template <class Visit>
void for_segments(const Plan& plan, const std::vector<Turn>& turns, Visit visit) {
  for (const Turn& turn : turns) {
    const Task& task = plan.tasks[turn.task];
    for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
      const Segment& segment = plan.segments[static_cast<std::size_t>(s)];
      const std::int64_t end = segment_end(plan, segment);
      if (end > segment.token_begin) visit(segment.node.index(), std::int64_t{segment.token_begin}, end);
    }
  }
}

/// Replaces the borders of one node, in place, by at most kPiecesOfSegment equal cuts between its first and last;
/// returns the new end.
std::size_t cut_on_grid(std::vector<std::int64_t>& borders, std::size_t begin, std::size_t end) {
  const std::int64_t low = borders[begin], high = borders[end - 1];
  const std::int64_t step = core::ceil_div(high - low, kPiecesOfSegment);
  std::size_t out = begin;
  for (std::int64_t at = low; at < high; at += step) borders[out++] = at;
  borders[out++] = high;
  return out;
}

Pieces cut_nodes(const Plan& plan, const std::vector<Turn>& turns) {
  const std::size_t nodes = plan.forest.node_count();
  std::vector<std::size_t> begin(nodes + 1, 0);
  for_segments(plan, turns, [&](std::size_t node, std::int64_t, std::int64_t) { begin[node + 1] += 2; });
  for (std::size_t n = 0; n < nodes; ++n) begin[n + 1] += begin[n];
  std::vector<std::int64_t> borders(begin[nodes]);
  std::vector<std::size_t> fill(begin.begin(), begin.end() - 1);
  for_segments(plan, turns, [&](std::size_t node, std::int64_t b, std::int64_t e) {
    borders[fill[node]++] = b;
    borders[fill[node]++] = e;
  });

  Pieces pieces;
  std::vector<std::size_t> end(nodes);
  for (std::size_t n = 0; n < nodes; ++n) {
    const auto low = borders.begin() + static_cast<std::ptrdiff_t>(begin[n]);
    const auto high = borders.begin() + static_cast<std::ptrdiff_t>(begin[n + 1]);
    if (!std::is_sorted(low, high)) std::sort(low, high);
    end[n] = static_cast<std::size_t>(std::unique(low, high) - borders.begin());
  }
  for (int attempt = 0; attempt < 2; ++attempt) {
    pieces.first.assign(1, 0);
    pieces.tokens.clear();
    for (std::size_t n = 0; n < nodes; ++n) {
      pieces.tokens.insert(pieces.tokens.end(), borders.begin() + static_cast<std::ptrdiff_t>(begin[n]),
                           borders.begin() + static_cast<std::ptrdiff_t>(end[n]));
      pieces.first.push_back(pieces.tokens.size());
    }
    if (attempt == 1) break;
    std::vector<std::int64_t> records(nodes, 0);
    for_segments(plan, turns, [&](std::size_t node, std::int64_t b, std::int64_t e) {
      const Pieces::Range range = pieces.of(node, b, e);
      records[node] += static_cast<std::int64_t>(range.end - range.begin);
    });
    bool crowded = false;
    for (std::size_t n = 0; n < nodes; ++n) {
      const auto segments = static_cast<std::int64_t>((begin[n + 1] - begin[n]) / 2);
      if (records[n] <= std::max(kRecordsOfNode, kPiecesOfSegment * segments)) continue;
      end[n] = cut_on_grid(borders, begin[n], end[n]);
      crowded = true;
    }
    if (!crowded) break;
  }
  return pieces;
}

/// What a token of a KV head is made of (K and V apart when some tasks read only one) and how the KV heads are cut.
struct Lanes {
  int parts = 1;
  double part_bytes[2] = {0, 0};
  std::vector<std::int32_t> head_borders;  ///< KV heads

  std::size_t count() const { return (head_borders.size() - 1) * static_cast<std::size_t>(parts); }
};

struct HeadRange {
  std::int32_t begin = 0, end = 0;  ///< KV heads
};

HeadRange kv_heads_of(const Task& task, const traces::HeadConfig& heads) {
  const std::int32_t group = heads.group();
  const std::int32_t end = task.head_begin + task.head_count * task.copies;
  return {task.head_begin / group, static_cast<std::int32_t>(core::ceil_div(end, group))};
}

Lanes make_lanes(const Plan& plan, const std::vector<Turn>& turns) {
  Lanes lanes;
  bool apart = false;
  for (const Turn& turn : turns) {
    const Task& task = plan.tasks[turn.task];
    apart = apart || task.kind != TaskKind::attend;
    const HeadRange range = kv_heads_of(task, plan.heads);
    for (std::int32_t border : {range.begin, range.end}) {
      const auto at = std::lower_bound(lanes.head_borders.begin(), lanes.head_borders.end(), border);
      if (at == lanes.head_borders.end() || *at != border) lanes.head_borders.insert(at, border);
    }
  }
  const double element = traces::dtype_bytes(plan.heads.kv_dtype);
  lanes.parts = apart && !plan.heads.v_in_k ? 2 : 1;
  lanes.part_bytes[0] =
      lanes.parts == 2 ? plan.heads.qk_dim * element : static_cast<double>(plan.heads.kv_bytes_per_token_head());
  lanes.part_bytes[1] = plan.heads.v_dim * element;
  return lanes;
}

/// The walk over the execution order: state of every (piece, lane) and the running hit share of the task at hand.
class Walk {
 public:
  Walk(const Plan& plan, const costmodel::DeviceSpec& device, const std::vector<Turn>& turns)
      : plan_(plan), device_(device), turns_(turns), pieces_(cut_nodes(plan, turns)), lanes_(make_lanes(plan, turns)),
        last_reader_(pieces_.tokens.size() * lanes_.count(), -1), last_bytes_(turns.size()) {}

  double unique_bytes() const {
    std::int64_t tokens = 0;
    for (std::size_t n = 0; n + 1 < pieces_.first.size(); ++n) {
      if (pieces_.first[n] < pieces_.first[n + 1]) {
        tokens += pieces_.tokens[pieces_.first[n + 1] - 1] - pieces_.tokens[pieces_.first[n]];
      }
    }
    return static_cast<double>(tokens) * static_cast<double>(plan_.heads.kv_bytes_per_token());
  }

  double hit_fraction(std::size_t turn, double first_hit) {
    const Task& task = plan_.tasks[turns_[turn].task];
    const HeadRange heads = kv_heads_of(task, plan_.heads);
    const int part_begin = lanes_.parts == 2 && task.kind == TaskKind::values ? 1 : 0;
    const int part_end = lanes_.parts == 2 && task.kind != TaskKind::scores ? 2 : 1;
    double bytes = 0, hit_bytes = 0;
    for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
      const Segment& segment = plan_.segments[static_cast<std::size_t>(s)];
      const std::int64_t end = segment_end(plan_, segment);
      if (end <= segment.token_begin) continue;
      const Pieces::Range range = pieces_.of(segment.node.index(), segment.token_begin, end);
      for (std::size_t piece = range.begin; piece < range.end; ++piece) {
        const auto tokens = static_cast<double>(pieces_.tokens[piece + 1] - pieces_.tokens[piece]);
        for (std::size_t h = 0; h + 1 < lanes_.head_borders.size(); ++h) {
          if (lanes_.head_borders[h] < heads.begin || lanes_.head_borders[h] >= heads.end) continue;
          const double width = lanes_.head_borders[h + 1] - lanes_.head_borders[h];
          for (int part = part_begin; part < part_end; ++part) {
            const double size = tokens * width * lanes_.part_bytes[part];
            const std::size_t lane = h * static_cast<std::size_t>(lanes_.parts) + static_cast<std::size_t>(part);
            hit_bytes += size * read(piece * lanes_.count() + lane, turn, size, first_hit);
            bytes += size;
          }
        }
      }
    }
    last_bytes_.add(turn, bytes);
    return bytes > 0 ? hit_bytes / bytes : 0;
  }

 private:
  double read(std::size_t state, std::size_t turn, double size, double first_hit) {
    const std::int32_t previous = last_reader_[state];
    last_reader_[state] = static_cast<std::int32_t>(turn);
    if (previous < 0) return first_hit;
    const auto before = static_cast<std::size_t>(previous);
    if (before == turn) return device_.l2_merge_fraction;
    double hit = device_.l2_merge_fraction;
    if (turns_[before].end <= turns_[turn].begin) {
      const double between = last_bytes_.prefix(turn) - last_bytes_.prefix(before + 1);
      hit = soft_capacity_hit(std::max(0.0, between), device_);
    }
    last_bytes_.add(before, -size);
    return hit;
  }

  const Plan& plan_;
  const costmodel::DeviceSpec& device_;
  const std::vector<Turn>& turns_;
  Pieces pieces_;
  Lanes lanes_;
  std::vector<std::int32_t> last_reader_;  ///< turn, by piece and lane; -1: nobody yet
  Fenwick last_bytes_;                     ///< bytes whose last reader is turn i
};

/// Copies of a kernel that doesn't pack heads read one KV head several times, side by side.
double with_group_copies(const Task& task, const traces::HeadConfig& heads, double hit, double merge) {
  const HeadRange range = kv_heads_of(task, heads);
  const double readers = static_cast<double>(task.copies) / std::max(1, range.end - range.begin);
  return readers > 1 ? (hit + (readers - 1) * merge) / readers : hit;
}

}  // namespace

double soft_capacity_hit(double footprint_bytes, const costmodel::DeviceSpec& device) {
  const double x = footprint_bytes / (device.l2_knee_mib * 1024.0 * 1024.0);
  return 1.0 / (1.0 + std::pow(x, device.l2_knee_exponent));
}

core::Column<TaskId, double> kv_hit_fractions(const Plan& plan, const costmodel::DeviceSpec& device, bool warm_l2) {
  core::Column<TaskId, double> hits(plan.tasks.size(), 0.0);
  const std::vector<Turn> turns = reading_order(plan, device);
  if (turns.empty()) return hits;
  Walk walk(plan, device, turns);
  const double first_hit = warm_l2 ? soft_capacity_hit(walk.unique_bytes(), device) : 0.0;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const double hit = walk.hit_fraction(i, first_hit);
    hits[turns[i].task] = with_group_copies(plan.tasks[turns[i].task], plan.heads, hit, device.l2_merge_fraction);
  }
  return hits;
}

}  // namespace espalier::sim
