// A radix tree over id paths. A request first follows the one before it, whole blocks of ids at a time, then goes on
// from node to node: it costs its number of ids at the speed of memory, plus one lookup a node that the two don't
// share.
#include "traces/path_trie.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"

namespace espalier::traces {
namespace {

constexpr std::int32_t kNone = -1;

/// A run of ids that the same requests share, of the first request that had them.
struct Run {
  std::int32_t parent;
  std::size_t begin, end;  ///< of PathView::ids
  std::int32_t first_request;
  std::int32_t first_child = kNone, last_child = kNone, next = kNone,
               previous = kNone;  ///< siblings: in the order of their first requests
};

/// Equal ids at the beginning of a[0..n) and b[0..n).
template <class PathId>
std::size_t shared_ids(const PathId* a, const PathId* b, std::size_t n) {
  constexpr std::size_t kBlock = 128, kFew = 16 / sizeof(PathId);  // the few are compared without a call
  std::size_t i = 0;
  while (i + kBlock <= n && std::memcmp(a + i, b + i, kBlock * sizeof(PathId)) == 0) i += kBlock;
  while (i + kFew <= n && std::memcmp(a + i, b + i, kFew * sizeof(PathId)) == 0) i += kFew;
  while (i < n && a[i] == b[i]) ++i;
  return i;
}

template <class PathId>
class RadixTree {
 public:
  explicit RadixTree(const PathView<PathId>& paths) : paths_(paths) {
    runs_.reserve(2 * paths.request_count() + 1);
    ends_.reserve(paths.request_count());
    edges_.assign(std::bit_ceil(4 * paths.request_count() + 16), kNone);
    for (std::size_t r = 0; r < paths.request_count(); ++r) insert(static_cast<std::int32_t>(r));
  }
  const std::vector<Run>& runs() const { return runs_; }
  /// Run at whose end each request ends.
  const std::vector<std::int32_t>& ends() const { return ends_; }

  std::vector<std::int32_t> preorder() const {
    std::vector<std::int32_t> order;
    order.reserve(runs_.size());
    for (std::int32_t at = first_root_; at != kNone;) {
      order.push_back(at);
      if (run(at).first_child != kNone) {
        at = run(at).first_child;
        continue;
      }
      while (at != kNone && run(at).next == kNone) at = run(at).parent;
      if (at != kNone) at = run(at).next;
    }
    return order;
  }

 private:
  const Run& run(std::int32_t i) const { return runs_[static_cast<std::size_t>(i)]; }
  Run& run(std::int32_t i) { return runs_[static_cast<std::size_t>(i)]; }
  std::size_t length(std::int32_t i) const { return run(i).end - run(i).begin; }

  void insert(std::int32_t request) {
    const auto r = static_cast<std::size_t>(request);
    const PathId* const ids = paths_.ids.data();
    std::size_t at = paths_.begin[r];
    const std::size_t stop = paths_.begin[r + 1];
    if (r > 0) at = follow_previous(r);
    std::int32_t above = path_.empty() ? kNone : path_.back();
    while (at < stop) {
      std::int32_t next = *edge(above, ids[at]);
      if (next == kNone) {
        next = add({above, at, stop, request});
        at = stop;
      } else {
        const std::size_t shared = shared_ids(ids + at, ids + run(next).begin, std::min(length(next), stop - at));
        if (shared < length(next)) next = split(next, shared);
        at += shared;
      }
      path_.push_back(next);
      above = next;
    }
    ends_.push_back(above);
  }

  /// Leaves in path_ the runs that request r shares with the one before it, the last one split where they part. Returns
  /// where to go on.
  std::size_t follow_previous(std::size_t r) {
    const std::size_t begin = paths_.begin[r], before = paths_.begin[r - 1];
    const std::size_t most = std::min(paths_.begin[r + 1] - begin, begin - before);
    const std::size_t shared = shared_ids(paths_.ids.data() + begin, paths_.ids.data() + before, most);
    std::size_t end = begin - before;  // ids of the previous request down to the last run of path_
    while (!path_.empty() && end - length(path_.back()) >= shared) {
      end -= length(path_.back());
      path_.pop_back();
    }
    if (end > shared) path_.back() = split(path_.back(), length(path_.back()) - (end - shared));
    return begin + shared;
  }

  std::int32_t add(const Run& fresh) {
    const auto index = static_cast<std::int32_t>(runs_.size());
    runs_.push_back(fresh);
    Run& own = runs_.back();
    std::int32_t& last = own.parent == kNone ? last_root_ : run(own.parent).last_child;
    own.previous = last;
    (last != kNone ? run(last).next : own.parent == kNone ? first_root_ : run(own.parent).first_child) = index;
    last = index;
    note(index);
    return index;
  }

  /// Cuts the first `ids` ids off a run into a new run above it, which takes its place, and returns that.
  std::int32_t split(std::int32_t lower_index, std::size_t ids) {
    const auto index = static_cast<std::int32_t>(runs_.size());
    runs_.push_back(run(lower_index));
    Run& upper = runs_.back();
    Run& lower = run(lower_index);
    *edge(upper.parent, paths_.ids[upper.begin]) = index;
    upper.end = upper.begin + ids;
    upper.first_child = upper.last_child = lower_index;
    if (upper.previous != kNone) {
      run(upper.previous).next = index;
    } else {
      (upper.parent == kNone ? first_root_ : run(upper.parent).first_child) = index;
    }
    if (upper.next != kNone) {
      run(upper.next).previous = index;
    } else {
      (upper.parent == kNone ? last_root_ : run(upper.parent).last_child) = index;
    }
    lower.parent = index;
    lower.begin = upper.end;
    lower.previous = lower.next = kNone;
    note(lower_index);
    return index;
  }

  /// Place of the edge from `parent` that begins with `id`: holds the run, or none. Open addressing.
  std::int32_t* edge(std::int32_t parent, PathId id) {
    const std::size_t mask = edges_.size() - 1;
    const std::uint64_t mixed =
        (static_cast<std::uint64_t>(id) + static_cast<std::uint64_t>(parent + 1) * 0x9E3779B97F4A7C15U) *
        0xD6E8FEB86659FD93U;
    for (std::size_t at = (mixed ^ mixed >> 32) & mask;; at = (at + 1) & mask) {
      std::int32_t& place = edges_[at];
      if (place == kNone || (run(place).parent == parent && paths_.ids[run(place).begin] == id)) return &place;
    }
  }

  void note(std::int32_t index) {
    if (2 * runs_.size() > edges_.size()) {
      edges_.assign(2 * edges_.size(), kNone);
      for (std::size_t i = 0; i < runs_.size(); ++i) {
        *edge(runs_[i].parent, paths_.ids[runs_[i].begin]) = static_cast<std::int32_t>(i);
      }
    } else {
      *edge(run(index).parent, paths_.ids[run(index).begin]) = index;
    }
  }

  const PathView<PathId>& paths_;
  std::vector<Run> runs_;
  std::vector<std::int32_t> ends_, edges_;
  std::vector<std::int32_t> path_;  ///< runs of the request before
  std::int32_t first_root_ = kNone, last_root_ = kNone;
};

/// Indices of the runs ordered by their first requests, equal ones in index order.
std::vector<std::int32_t> by_first_request(const std::vector<Run>& runs) {
  std::vector<std::int32_t> order(runs.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return runs[static_cast<std::size_t>(a)].first_request < runs[static_cast<std::size_t>(b)].first_request;
  });
  return order;
}

/// Requests that end at each run, those that fill its last unit least first: [begin[run], begin[run + 1]) of `request`.
struct EndsByRun {
  std::vector<std::size_t> begin, request;
};

template <class PathId>
std::int64_t fill_of(const PathView<PathId>& paths, std::size_t r) {
  return (paths.tokens[r] - 1) % paths.unit_tokens + 1;
}

template <class PathId>
EndsByRun ends_by_run(const PathView<PathId>& paths, const RadixTree<PathId>& tree) {
  EndsByRun by{std::vector<std::size_t>(tree.runs().size() + 2, 0), std::vector<std::size_t>(tree.ends().size())};
  // Counted two places ahead, so that filling leaves each run's begin in its place.
  for (const std::int32_t end : tree.ends()) ++by.begin[static_cast<std::size_t>(end) + 2];
  for (std::size_t i = 2; i < by.begin.size(); ++i) by.begin[i] += by.begin[i - 1];
  for (std::size_t r = 0; r < tree.ends().size(); ++r) {
    by.request[by.begin[static_cast<std::size_t>(tree.ends()[r]) + 1]++] = r;
  }
  for (std::size_t i = 0; i < tree.runs().size(); ++i) {
    if (by.begin[i + 1] - by.begin[i] < 2) continue;
    std::stable_sort(by.request.begin() + static_cast<std::ptrdiff_t>(by.begin[i]),
                     by.request.begin() + static_cast<std::ptrdiff_t>(by.begin[i + 1]),
                     [&](std::size_t a, std::size_t b) { return fill_of(paths, a) < fill_of(paths, b); });
  }
  return by;
}

/// Nodes of the runs in this order. A run becomes several nodes where requests that end in its last unit fill that to
/// different degrees.
template <class PathId>
PathForest forest_of_tree(const PathView<PathId>& paths, const RadixTree<PathId>& tree,
                          const std::vector<std::int32_t>& order) {
  const std::vector<Run>& runs = tree.runs();
  const EndsByRun ends = ends_by_run(paths, tree);
  // Tokens of a run's last unit that its ends fill. Where one run alone goes on, it takes over the rest of that unit.
  const auto most_filled = [&](std::size_t i) {
    return ends.begin[i] == ends.begin[i + 1] ? 0 : fill_of(paths, ends.request[ends.begin[i + 1] - 1]);
  };
  const auto children = [&](std::size_t i) {
    return runs[i].first_child == kNone ? 0 : runs[i].first_child == runs[i].last_child ? 1 : 2;
  };

  PathForest forest;
  forest.source.leaf.resize(paths.request_count());
  forest.source.parent.reserve(runs.size());
  forest.source.tokens.reserve(runs.size());
  forest.units.reserve(runs.size());
  std::vector<std::int64_t> first_piece(runs.size()), last_piece(runs.size());  // rows of the source a run becomes
  for (const std::int32_t index : order) {
    const auto i = static_cast<std::size_t>(index);
    const Run& run = runs[i];
    const auto parent = static_cast<std::size_t>(run.parent);
    const std::int64_t carried_offset =
        run.parent >= 0 && children(parent) == 1 ? most_filled(parent) % paths.unit_tokens : 0;
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
    if (children(i) > 1) piece_up_to(paths.unit_tokens);
    last_piece[i] = static_cast<std::int64_t>(forest.units.size()) - 1;
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::int32_t parent = runs[i].parent;
    if (parent >= 0) {
      forest.source.parent[static_cast<std::size_t>(first_piece[i])] = last_piece[static_cast<std::size_t>(parent)];
    }
  }
  return forest;
}

template <class PathId>
PathForest preorder_of(const PathView<PathId>& paths) {
  ESPALIER_CHECK_OP(paths.begin.size(), ==, paths.request_count() + 1);
  const RadixTree<PathId> tree(paths);
  return forest_of_tree(paths, tree, tree.preorder());
}

}  // namespace

PathForest forest_of_paths(const RequestPaths& owned) {
  const PathView<std::int64_t> paths = owned.view();
  ESPALIER_CHECK_OP(paths.begin.size(), ==, paths.request_count() + 1);
  const RadixTree<std::int64_t> tree(paths);
  return forest_of_tree(paths, tree, by_first_request(tree.runs()));
}

PathForest preorder_of_paths(const PathView<std::int32_t>& paths) { return preorder_of(paths); }
PathForest preorder_of_paths(const PathView<std::int64_t>& paths) { return preorder_of(paths); }

}  // namespace espalier::traces
