// Enumeration of box covers, then of parts and kernels box by box, each level cut by a bound on what the tasks need;
// see the header.
#include "sim/exact_search.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/error.h"
#include "core/units.h"
#include "costmodel/work_counts.h"
#include "scheduler/plan_builder.h"
#include "scheduler/plan_statistics.h"
#include "sim/draft_moves.h"
#include "sim/simulator.h"

namespace espalier::sim {
namespace {

using costmodel::WorkCounts;

/// The simulator's sums differ from ours by rounding.
constexpr double kSlack = 1 - 1e-9;

/// What tasks need of the device, in microseconds of the whole device: its ports, pipes and CTA slots, and slots for
/// being dispatched; and in microseconds of one SM the longest task, and the longest whose rows a merge waits for.
struct Need {
  double port = 0, pipe = 0, slot = 0, dispatch = 0, longest = 0, longest_merged = 0;
  Need& operator+=(const Need& other) {
    port += other.port;
    pipe += other.pipe;
    slot += other.slot;
    dispatch += other.dispatch;
    longest = std::max(longest, other.longest);
    longest_merged = std::max(longest_merged, other.longest_merged);
    return *this;
  }
};

Need least_of(const Need& a, const Need& b) {
  return {std::min(a.port, b.port),       std::min(a.pipe, b.pipe),
          std::min(a.slot, b.slot),       std::min(a.dispatch, b.dispatch),
          std::min(a.longest, b.longest), std::min(a.longest_merged, b.longest_merged)};
}

/// How a draft is launched, as far as a bound can know.
struct Launching {
  bool persistent = true;  ///< or unknown: nothing but the first task of a worker is dispatched
  bool merge_launch = false;
  double gap_us = 0;  ///< of that launch
};

/// Prices tasks at the highest rates the simulator could give them: L2 port, pipes, no latency, no queueing.
class Pricer {
 public:
  explicit Pricer(const DraftSpace& space)
      : space_(space), port_(space.device.sm_port_bytes_per_clk * space.device.clocks_per_us()) {
    const scheduler::LowerBound bound = scheduler::lower_bound(space.forest, space.heads, space.device);
    gap_us_ = space.device.least_launch_gap_us();
    start_us_ = space.device.cta_start_ns * 1e-3;
    memory_us_ = bound.memory_us;
    merge_us_ = space.device.cta_end_ns * 1e-3;  // beside its flows
  }

  /// All copies of a piece. `partial`: its rows are written, and later read by a merge.
  Need piece(const DraftPiece& piece, bool partial) const {
    const DraftKernel& kernel = space_.kernels[static_cast<std::size_t>(piece.kernel)];
    const costmodel::DeviceSpec& device = space_.device;
    costmodel::TaskShape shape;
    shape.heads = scheduler::heads_per_copy(kernel.config, space_.heads);
    shape.queries = static_cast<std::int32_t>(readers_of(space_.forest, piece).size());
    for (const DraftSpan& span : piece.spans) {
      shape.kv_tokens += span.tokens();
      shape.visible_pairs += std::int64_t{span.tokens()} * seen_by(space_.forest, span.node, piece.begin, piece.end);
    }
    shape.segments = static_cast<std::int32_t>(piece.spans.size());
    shape.writes_partial = partial;
    const WorkCounts counts = costmodel::count_task(shape, kernel.config, space_.heads);
    const double cycles =
        costmodel::tile_cycles(shape, kernel.config, space_.heads, device).total / device.clocks_per_us();
    const double tiles = static_cast<double>(shape.kv_tokens) / kernel.config.kv_tile;
    const double padded = static_cast<double>(counts.kv_tiles) - tiles;
    const double io = static_cast<double>(counts.read_bytes() - counts.kv_bytes + counts.write_bytes()) / port_;
    const double kv = static_cast<double>(counts.kv_bytes) / port_;
    const double in_flight = std::max(kernel.config.stages - 1, 1) * static_cast<double>(counts.kv_bytes) / tiles;
    const double latency = latency_us(piece);
    const double exposed = latency * (1 - std::min(1.0, static_cast<double>(counts.kv_bytes) / in_flight));
    const double flow = std::max({kv, tiles * cycles, static_cast<double>(counts.kv_bytes) / in_flight * latency});
    const double alone = exposed + flow + io + padded * cycles + device.cta_end_ns * 1e-3;
    const double copies = static_cast<double>((piece.kv_end - piece.kv_begin) * space_.heads.group() / shape.heads);
    const double merged = static_cast<double>(counts.partial_write_bytes) / port_;  // read once by a merge
    const double slots = copies / (kernel.residents * device.sms);
    return {copies * (kv + io + merged) / device.sms,
            copies * tiles * cycles / device.sms,
            alone * slots,
            start_us_ * slots,
            alone,
            partial ? alone : 0};
  }

  double bound(const Need& need, const Launching& launching = {}) const {
    const double slots =
        launching.persistent ? start_us_ + need.slot : std::max(start_us_ + need.slot, need.slot + need.dispatch);
    const double tasks =
        std::max({start_us_ + need.port, start_us_ + need.pipe, slots, start_us_ + need.longest, memory_us_});
    double end = std::max(tasks, need.longest_merged > 0 ? start_us_ + need.longest_merged + merge_us_ : 0);
    if (launching.merge_launch) {
      // Ports carry the partial rows to the merges only after this launch.
      const double before = std::max({slots, start_us_ + need.pipe, start_us_ + need.longest});
      end = std::max(end, before + launching.gap_us + start_us_ + merge_us_);
    }
    return kSlack * (gap_us_ + end);
  }

 private:
  /// Tokens that no other task can read come from HBM; of others one hopes that they lie in L2.
  double latency_us(const DraftPiece& piece) const {
    double missed = 0, all = 0;
    for (const DraftSpan& span : piece.spans) {
      const bool alone = seen_by(space_.forest, span.node, piece.begin, piece.end) == space_.forest.readers(span.node);
      missed += alone && one_copy_a_head(piece) ? span.tokens() : 0;
      all += span.tokens();
    }
    const double miss = missed / all;
    return (miss * space_.device.hbm_latency_ns + (1 - miss) * space_.device.l2_latency_ns) * 1e-3;
  }

  /// False when several copies read the same KV head: the later ones may hit.
  bool one_copy_a_head(const DraftPiece& piece) const {
    return scheduler::heads_per_copy(space_.kernels[static_cast<std::size_t>(piece.kernel)].config, space_.heads) ==
           space_.heads.group();
  }

  const DraftSpace& space_;
  double port_ = 0, gap_us_ = 0, start_us_ = 0, memory_us_ = 0, merge_us_ = 0;
};

/// Taller tiles than the two lowest that hold a box only add padding.
constexpr std::int32_t kKernelsPerBox = 2;

/// Nodes of one path for an interval of requests.
struct Box {
  DraftPiece piece;
  bool shared = false;  ///< some request of it is in another box too
};

struct Cover {
  std::vector<Box> boxes;
  double bound_us = 0;
};

/// Covers kept to be tried in order of their bound; more makes the search incomplete.
constexpr std::size_t kMostCovers = 200'000;

class ExactSearch {
 public:
  ExactSearch(const DraftSpace& space, double incumbent_us, const ExactOptions& options)
      : space_(space), options_(options), pricer_(space) {
    result_.best_us = incumbent_us;
    if (options_.kernels.empty()) {
      for (std::size_t k = 0; k < space.kernels.size(); ++k) {
        if (k == 0 || space.kernels[k].config.query_tile != space.kernels[k - 1].config.query_tile) {
          options_.kernels.push_back(static_cast<std::int32_t>(k));
        }
      }
    }
    for (const std::int32_t k : options_.kernels) {
      most_queries_ = std::max(most_queries_, space.kernels[static_cast<std::size_t>(k)].queries);
    }
    covered_.assign(space.forest.node_count(), std::vector<char>(space.forest.request_count(), 0));
  }

  ExactResult run() && {
    cover(NodeId(0), RequestId(0));
    // The most promising first: a fast plan early rules out more.
    std::stable_sort(covers_.begin(), covers_.end(),
                     [](const Cover& a, const Cover& b) { return a.bound_us < b.bound_us; });
    for (const Cover& c : covers_) {
      if (stopped_) break;
      if (c.bound_us >= result_.best_us) {
        ++result_.covers_pruned;
        continue;
      }
      boxes_ = c.boxes;
      price_choices();
      assign(0, Need{});
    }
    return std::move(result_);
  }

 private:
  char& covered(NodeId n, RequestId r) { return covered_[n.index()][r.index()]; }

  /// The first (node, request) at or after (n, r) that no box holds opens the next box: each partition comes up once.
  void cover(NodeId n, RequestId r) {
    const traces::PrefixForest& forest = space_.forest;
    for (;; ++r.value) {
      if (n.index() == forest.node_count()) return keep_cover();
      r = std::max(r, forest.request_begin[n]);
      if (r >= forest.request_end[n]) {
        ++n.value;
        r = RequestId(-1);
      } else if (!covered(n, r)) {
        break;
      }
    }
    for (RequestId end(r.value + 1); end <= forest.request_end[n] && end.value - r.value <= most_queries_;
         ++end.value) {
      if (covered(n, RequestId(end.value - 1))) return;
      descend(n, n, {r, end, {}, 0, 0, space_.heads.kv_heads});
    }
  }

  /// Opens a box from `top`, so far down to above `last`, and every longer one. What lies below an open (node, request)
  /// is open too: a box begins at its top.
  void descend(NodeId top, NodeId last, DraftPiece piece) {
    const traces::PrefixForest& forest = space_.forest;
    piece.spans.push_back({last, 0, static_cast<std::int32_t>(forest.tokens[last])});
    mark(piece, 1);
    boxes_.push_back({piece, false});
    if (covers_.size() < kMostCovers) {
      cover(top, piece.begin);
    } else {
      result_.complete = false;
    }
    boxes_.pop_back();
    mark(piece, 0);
    for (NodeId child(last.value + 1); child.index() < forest.node_count(); ++child.value) {
      if (forest.parent[child] != last || forest.request_begin[child] > piece.begin ||
          forest.request_end[child] < piece.end) {
        continue;
      }
      descend(top, child, piece);
    }
  }

  void mark(const DraftPiece& piece, char value) {
    for (const DraftSpan& span : piece.spans) {
      for (RequestId r = piece.begin; r < piece.end; ++r.value) covered(span.node, r) = value;
    }
  }

  struct Choice {
    std::vector<DraftPiece> parts;
    Need need;
    std::pair<std::size_t, std::int32_t> key() const { return {parts.size(), parts.front().kernel}; }
  };

  bool alike(const Box& a, const Box& b) const {
    const traces::PrefixForest& forest = space_.forest;
    return a.shared == b.shared && a.piece.end.value - a.piece.begin.value == b.piece.end.value - b.piece.begin.value &&
           forest.parent[a.piece.spans[0].node] == forest.parent[b.piece.spans[0].node] &&
           std::equal(a.piece.spans.begin(), a.piece.spans.end(), b.piece.spans.begin(), b.piece.spans.end(),
                      [](const DraftSpan& x, const DraftSpan& y) { return x.tokens() == y.tokens(); });
  }

  void keep_cover() {
    ++result_.covers;
    price_choices();
    covers_.push_back({boxes_, pricer_.bound(least_[0])});
  }

  void price_choices() {
    std::vector<std::int32_t> boxes_of(space_.forest.request_count(), 0);
    for (const Box& box : boxes_) {
      for (RequestId r = box.piece.begin; r < box.piece.end; ++r.value) ++boxes_of[r.index()];
    }
    choices_.clear();
    for (Box& box : boxes_) {
      box.shared = false;
      for (RequestId r = box.piece.begin; r < box.piece.end; ++r.value) {
        box.shared = box.shared || boxes_of[r.index()] > 1;
      }
      choices_.push_back(choices_of(box));
    }
    chosen_.assign(boxes_.size(), nullptr);
    alike_before_.assign(boxes_.size(), -1);
    for (std::size_t i = 0; i < boxes_.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (alike(boxes_[j], boxes_[i])) alike_before_[i] = static_cast<std::int32_t>(j);
      }
    }
    // What the boxes from i on need at least, each resource by itself.
    least_.assign(choices_.size() + 1, Need{});
    for (std::size_t i = choices_.size(); i-- > 0;) {
      Need least = choices_[i].front().need;
      for (const Choice& c : choices_[i]) least = least_of(least, c.need);
      least_[i] = least_[i + 1];
      least_[i] += least;
    }
  }

  std::vector<Choice> choices_of(const Box& box) const {
    std::vector<Choice> choices;
    std::int32_t fitting = 0;
    for (const std::int32_t k : options_.kernels) {
      if (space_.kernels[static_cast<std::size_t>(k)].queries < box.piece.end.value - box.piece.begin.value) continue;
      if (++fitting > kKernelsPerBox) break;
      DraftPiece whole = box.piece;
      whole.kernel = k;
      std::size_t last = 0;
      for (std::int32_t parts = 1; parts <= options_.most_parts; ++parts) {
        Choice choice{cut_evenly(space_, whole, parts), {}};
        if (choice.parts.size() == last) break;  // as many as KV tiles
        last = choice.parts.size();
        for (const DraftPiece& part : choice.parts) choice.need += pricer_.piece(part, box.shared || parts > 1);
        choices.push_back(std::move(choice));
      }
    }
    // The lightest first: a good plan early rules out more.
    std::stable_sort(choices.begin(), choices.end(),
                     [&](const Choice& a, const Choice& b) { return pricer_.bound(a.need) < pricer_.bound(b.need); });
    return choices;
  }

  void assign(std::size_t i, const Need& need) {
    Need all = need;
    all += least_[i];
    if (stopped_ || pricer_.bound(all) >= result_.best_us) return;
    if (i == choices_.size()) return try_launches(need);
    for (const Choice& choice : choices_[i]) {
      if (alike_before_[i] >= 0 && chosen_[static_cast<std::size_t>(alike_before_[i])]->key() < choice.key()) continue;
      chosen_[i] = &choice;
      Need with = need;
      with += choice.need;
      const std::size_t before = draft_.pieces.size();
      draft_.pieces.insert(draft_.pieces.end(), choice.parts.begin(), choice.parts.end());
      assign(i + 1, with);
      draft_.pieces.resize(before);
    }
  }

  void try_launches(const Need& need) {
    bool merges = false, mixed = false;
    std::vector<std::int32_t> pieces_of(space_.forest.request_count(), 0);
    for (const DraftPiece& piece : draft_.pieces) {
      mixed = mixed || piece.kernel != draft_.pieces[0].kernel;
      for (RequestId r = piece.begin; r < piece.end; ++r.value) merges = ++pieces_of[r.index()] > 1 || merges;
    }
    PlanDraft draft = draft_;
    for (const bool sorted : {false, true}) {
      if (sorted) sort_longest_first(space_, draft);
      if (sorted && draft.pieces == draft_.pieces) return;
      for (const DraftMerge merge : {DraftMerge::on_arrival, DraftMerge::programmatic, DraftMerge::launch}) {
        for (const bool persistent : {false, true}) {
          for (const bool apart : {false, true}) {
            if (apart && (!mixed || persistent || merge == DraftMerge::on_arrival)) continue;
            const double gap_us =
                merge == DraftMerge::launch ? space_.device.launch_graph_us : space_.device.launch_pdl_us;
            if (pricer_.bound(need, {persistent, merges && merge != DraftMerge::on_arrival, gap_us}) >=
                result_.best_us) {
              continue;
            }
            draft.merge = merge;
            draft.persistent = persistent;
            draft.side_by_side = apart;
            judge(draft);
          }
        }
        if (!merges) break;
      }
    }
  }

  void judge(const PlanDraft& draft) {
    if (result_.plans >= options_.most_plans) {
      stopped_ = true;
      result_.complete = false;
      return;
    }
    ++result_.plans;
    const double us = simulate(emit_draft(space_, draft), space_.device).makespan_us;
    if (us >= result_.best_us) return;
    result_.best_us = us;
    result_.best = draft;
  }

  const DraftSpace& space_;
  ExactOptions options_;
  Pricer pricer_;
  std::int32_t most_queries_ = 0;
  std::vector<std::vector<char>> covered_;
  std::vector<Box> boxes_;
  std::vector<Cover> covers_;
  std::vector<std::vector<Choice>> choices_;
  std::vector<const Choice*> chosen_;       ///< of the boxes assigned so far
  std::vector<std::int32_t> alike_before_;  ///< of each box, the last one before it that is like it, or -1
  std::vector<Need> least_;
  PlanDraft draft_;
  bool stopped_ = false;  ///< most_plans were simulated
  ExactResult result_;
};

}  // namespace

void require_small(const traces::PrefixForest& forest, const costmodel::DeviceSpec& device) {
  if (device.is_cpu()) {
    throw core::usage_error(fmt::format("the exact search bounds what GPUs take, and {} is a CPU", device.name));
  }
  if (forest.node_count() <= kMostExactNodes && device.sms <= kMostExactSms) return;
  throw core::usage_error(fmt::format(
      "the exact search takes at most {} nodes and {} SMs (--device NAME:sms={}), {} and {} have {} and {:.0f}",
      kMostExactNodes, kMostExactSms, kMostExactSms, forest.name, device.name, forest.node_count(), device.sms));
}

ExactResult search_exactly(const DraftSpace& space, double incumbent_us, const ExactOptions& options) {
  require_small(space.forest, space.device);
  return ExactSearch(space, incumbent_us, options).run();
}

double draft_bound_us(const DraftSpace& space, const PlanDraft& draft) {
  const Pricer pricer(space);
  const auto heads = static_cast<std::size_t>(space.heads.kv_heads);
  std::vector<std::int32_t> pieces_of(space.forest.request_count() * heads, 0);  // by request and KV head
  const auto for_rows = [&](const DraftPiece& piece, auto&& use) {
    for (const RequestId r : readers_of(space.forest, piece)) {
      for (std::int32_t h = piece.kv_begin; h < piece.kv_end; ++h) {
        use(pieces_of[r.index() * heads + static_cast<std::size_t>(h)]);
      }
    }
  };
  for (const DraftPiece& piece : draft.pieces) for_rows(piece, [](std::int32_t& count) { ++count; });
  Need need;
  for (const DraftPiece& piece : draft.pieces) {
    bool partial = false;
    for_rows(piece, [&](std::int32_t count) { partial = partial || count > 1; });
    need += pricer.piece(piece, partial);
  }
  return pricer.bound(need);
}

}  // namespace espalier::sim
