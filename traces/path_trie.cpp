// A radix tree over id paths. Whole runs are compared, so a request costs its number of ids plus one lookup a node.
#include "traces/path_trie.h"

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "core/rng.h"

namespace espalier::traces {
namespace {

/// A run of ids that the same requests share. Runs point into RequestPaths::ids, at the first request that had them.
struct Run {
  std::int32_t parent;
  std::size_t begin, end;
  std::int32_t first_request;
};

struct EdgeKey {
  std::int32_t parent;
  std::int64_t id;
  friend bool operator==(const EdgeKey&, const EdgeKey&) = default;
};
struct EdgeHash {
  std::size_t operator()(const EdgeKey& key) const {
    return core::random_bits(static_cast<std::uint64_t>(key.id), static_cast<std::uint64_t>(key.parent + 1));
  }
};

class RadixTree {
 public:
  explicit RadixTree(const RequestPaths& paths) : paths_(paths) {
    edges_.reserve(2 * paths.request_count());
    for (std::size_t r = 0; r < paths.request_count(); ++r) insert(static_cast<std::int32_t>(r));
  }
  const std::vector<Run>& runs() const { return runs_; }
  /// Run at whose end each request ends.
  const std::vector<std::int32_t>& ends() const { return ends_; }

 private:
  void insert(std::int32_t request) {
    const auto r = static_cast<std::size_t>(request);
    std::size_t at = paths_.begin[r];
    const std::size_t stop = paths_.begin[r + 1];
    std::int32_t above = -1;
    while (at < stop) {
      const auto edge = edges_.find({above, paths_.ids[at]});
      if (edge == edges_.end()) {
        above = add({above, at, stop, request});
        at = stop;
        break;
      }
      std::int32_t run = edge->second;
      const std::size_t begin = runs_[static_cast<std::size_t>(run)].begin;
      const std::size_t length = std::min(runs_[static_cast<std::size_t>(run)].end - begin, stop - at);
      const auto* ids = paths_.ids.data();
      const auto shared =
          static_cast<std::size_t>(std::mismatch(ids + at, ids + at + length, ids + begin).first - (ids + at));
      if (begin + shared < runs_[static_cast<std::size_t>(run)].end) run = split(run, shared);
      above = run;
      at += shared;
    }
    ends_.push_back(above);
  }

  std::int32_t add(const Run& run) {
    runs_.push_back(run);
    const auto index = static_cast<std::int32_t>(runs_.size()) - 1;
    edges_[{run.parent, paths_.ids[run.begin]}] = index;
    return index;
  }

  /// Cuts the first `length` ids off a run into a new run above it, and returns that.
  std::int32_t split(std::int32_t run, std::size_t length) {
    Run upper = runs_[static_cast<std::size_t>(run)];
    upper.end = upper.begin + length;
    const std::int32_t index = add(upper);
    Run& lower = runs_[static_cast<std::size_t>(run)];
    lower.parent = index;
    lower.begin = upper.end;
    edges_[{index, paths_.ids[lower.begin]}] = run;
    return index;
  }

  const RequestPaths& paths_;
  std::vector<Run> runs_;
  std::vector<std::int32_t> ends_;
  std::unordered_map<EdgeKey, std::int32_t, EdgeHash> edges_;  // looked up only, never walked
};

/// Indices 0..n-1 ordered by key[i], equal keys in index order.
std::vector<std::size_t> order_by(const std::vector<std::int32_t>& key) {
  std::vector<std::size_t> order(key.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return key[a] < key[b]; });
  return order;
}

/// Requests that end at each run, those that fill its last unit least first: [begin[run], begin[run + 1]) of `request`.
struct EndsByRun {
  std::vector<std::size_t> begin, request;
};

std::int64_t fill_of(const RequestPaths& paths, std::size_t r) { return (paths.tokens[r] - 1) % paths.unit_tokens + 1; }

EndsByRun ends_by_run(const RequestPaths& paths, const RadixTree& tree) {
  EndsByRun by{std::vector<std::size_t>(tree.runs().size() + 1, 0), {}};
  for (const std::int32_t run : tree.ends()) ++by.begin[static_cast<std::size_t>(run) + 1];
  for (std::size_t i = 0; i + 1 < by.begin.size(); ++i) by.begin[i + 1] += by.begin[i];
  std::vector<std::size_t> next(by.begin.begin(), by.begin.end() - 1);
  by.request.resize(tree.ends().size());
  for (std::size_t r = 0; r < tree.ends().size(); ++r) {
    by.request[next[static_cast<std::size_t>(tree.ends()[r])]++] = r;
  }
  for (std::size_t run = 0; run + 1 < by.begin.size(); ++run) {
    std::stable_sort(by.request.begin() + static_cast<std::ptrdiff_t>(by.begin[run]),
                     by.request.begin() + static_cast<std::ptrdiff_t>(by.begin[run + 1]),
                     [&](std::size_t a, std::size_t b) { return fill_of(paths, a) < fill_of(paths, b); });
  }
  return by;
}

}  // namespace

PathForest forest_of_paths(const RequestPaths& paths) {
  ESPALIER_CHECK_OP(paths.begin.size(), ==, paths.request_count() + 1);
  const RadixTree tree(paths);
  const EndsByRun ends = ends_by_run(paths, tree);
  const std::size_t n = tree.runs().size();
  std::vector<std::int32_t> children(n, 0), first_request;
  for (const Run& run : tree.runs()) {
    if (run.parent >= 0) ++children[static_cast<std::size_t>(run.parent)];
    first_request.push_back(run.first_request);
  }
  // Tokens of a run's last unit that its ends fill. Where one run alone goes on, it takes over the rest of that unit.
  const auto most_filled = [&](std::size_t i) {
    return ends.begin[i] == ends.begin[i + 1] ? 0 : fill_of(paths, ends.request[ends.begin[i + 1] - 1]);
  };

  PathForest forest;
  forest.source.leaf.resize(paths.request_count());
  std::vector<std::int64_t> first_piece(n), last_piece(n);  // rows of the source a run becomes
  for (const std::size_t i : order_by(first_request)) {
    const Run& run = tree.runs()[i];
    const auto parent = static_cast<std::size_t>(run.parent);
    const std::int64_t carried_offset =
        run.parent >= 0 && children[parent] == 1 ? most_filled(parent) % paths.unit_tokens : 0;
    const std::int64_t carried = carried_offset > 0 ? paths.unit_tokens - carried_offset : 0;
    const std::int64_t before_last = carried + static_cast<std::int64_t>(run.end - run.begin - 1) * paths.unit_tokens;
    std::int64_t filled = 0;  // tokens of the run's last unit that the pieces so far hold
    first_piece[i] = static_cast<std::int64_t>(forest.units.size());
    const auto piece_up_to = [&](std::int64_t fill) {
      if (fill == filled) return;
      const bool first = filled == 0;
      forest.source.parent.push_back(first ? -1 : static_cast<std::int64_t>(forest.units.size()) - 1);
      forest.source.tokens.push_back(fill - filled + (first ? before_last : 0));
      forest.units.push_back(first ? NodeUnits{run.begin, run.end, carried_offset}
                                   : NodeUnits{run.begin, run.begin, filled});
      filled = fill;
    };
    for (std::size_t at = ends.begin[i]; at < ends.begin[i + 1]; ++at) {
      piece_up_to(fill_of(paths, ends.request[at]));
      forest.source.leaf[ends.request[at]] = static_cast<std::int64_t>(forest.units.size()) - 1;
    }
    if (children[i] > 1) piece_up_to(paths.unit_tokens);
    last_piece[i] = static_cast<std::int64_t>(forest.units.size()) - 1;
  }
  for (std::size_t i = 0; i < n; ++i) {
    const std::int32_t parent = tree.runs()[i].parent;
    if (parent >= 0) {
      forest.source.parent[static_cast<std::size_t>(first_piece[i])] = last_piece[static_cast<std::size_t>(parent)];
    }
  }
  return forest;
}

}  // namespace espalier::traces
