// Coverage: for every request, head and token of its path, exactly one read.
//
// All reads of a node are boxes of requests x tokens for an interval of heads; each node is checked against its readers
// x heads x length by exact cover, so the cost is that of the records and never that of the tokens, requests or heads.
// A request's head is served either by attend tasks or by the two-GEMM chain: each of the three sorts of reads (attend,
// scores, values) must cover its own share, so the other share enters its check as one box that is already taken.
#include <algorithm>

#include "scheduler/validate_internal.h"

namespace espalier::scheduler::validation {
namespace {

using enum ViolationClass;

/// The box that stands for requests and heads which another sort of task serves.
constexpr std::int32_t kOtherSort = -1;

/// Tokens [t0, t1) of a node read for requests [r0, r1) and heads [h0, h1).
struct Read {
  std::int32_t node, h0, h1, r0, r1;
  std::int64_t t0, t1;
  std::int32_t task;
};

/// Requests, by interval of heads, that the two-GEMM chain serves: named by any of its tasks.
struct ChainShare {
  std::vector<std::int32_t> borders;        ///< of heads; share i is for [borders[i], borders[i + 1])
  std::vector<std::vector<char>> requests;  ///< by share and request
};

bool in_chain(TaskKind kind) {
  return kind == TaskKind::scores || kind == TaskKind::softmax || kind == TaskKind::values;
}

ChainShare chain_share(const Facts& facts) {
  const Plan& plan = facts.plan;
  ChainShare share;
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const Task& task = plan.tasks.raw()[i];
    if (!facts.task_good[i] || !in_chain(task.kind)) continue;
    share.borders.push_back(task.head_begin);
    share.borders.push_back(head_end(task));
  }
  if (share.borders.empty()) return share;
  share.borders.push_back(0);
  share.borders.push_back(plan.heads.q_heads);
  std::sort(share.borders.begin(), share.borders.end());
  share.borders.erase(std::unique(share.borders.begin(), share.borders.end()), share.borders.end());
  share.requests.assign(share.borders.size() - 1, std::vector<char>(plan.forest.request_count(), 0));
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const Task& task = plan.tasks.raw()[i];
    if (!facts.task_good[i] || !in_chain(task.kind)) continue;
    auto at = std::lower_bound(share.borders.begin(), share.borders.end(), task.head_begin) - share.borders.begin();
    for (; share.borders[static_cast<std::size_t>(at)] < head_end(task); ++at) {
      for_runs(facts, task.queries, [&](std::int32_t begin, std::int32_t end) {
        auto& row = share.requests[static_cast<std::size_t>(at)];
        std::fill(row.begin() + begin, row.begin() + end, char{1});
      });
    }
  }
  return share;
}

/// All reads by tasks of one kind, those of a node together. `first` has an entry a node and one past the last.
struct NodeReads {
  std::vector<Read> reads;
  std::vector<std::size_t> first;
};

NodeReads reads_by_node(const Facts& facts, TaskKind kind) {
  const Plan& plan = facts.plan;
  std::vector<Read> reads;
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const Task& task = plan.tasks.raw()[i];
    if (!facts.task_good[i] || task.kind != kind) continue;
    for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
      const Segment& segment = plan.segments[static_cast<std::size_t>(s)];
      const NodeId n = segment.node;
      // What lies outside the node or its readers has its own violation and is cut off here.
      const std::int64_t t0 = std::max<std::int64_t>(segment.token_begin, 0);
      const std::int64_t t1 = std::min(segment_end(plan, segment), plan.forest.tokens[n]);
      const Interval rows{task.queries.begin + segment.row_begin, task.queries.begin + segment.row_end};
      for_runs(facts, rows, [&](std::int32_t begin, std::int32_t end) {
        const std::int32_t r0 = std::max(begin, plan.forest.request_begin[n].value);
        const std::int32_t r1 = std::min(end, plan.forest.request_end[n].value);
        if (r0 < r1 && t0 < t1) {
          reads.push_back({n.value, task.head_begin, head_end(task), r0, r1, t0, t1, static_cast<std::int32_t>(i)});
        }
      });
    }
  }
  NodeReads by_node;
  by_node.first.assign(plan.forest.node_count() + 1, 0);
  for (const Read& read : reads) ++by_node.first[static_cast<std::size_t>(read.node) + 1];
  for (std::size_t n = 1; n < by_node.first.size(); ++n) by_node.first[n] += by_node.first[n - 1];
  std::vector<std::size_t> next(by_node.first.begin(), by_node.first.end() - 1);
  by_node.reads.resize(reads.size());
  for (const Read& read : reads) by_node.reads[next[static_cast<std::size_t>(read.node)]++] = read;
  return by_node;
}

class NodeCover {
 public:
  NodeCover(const Facts& facts, TaskKind kind, const ChainShare& share, Report& report)
      : facts_(facts), kind_(kind), share_(share), report_(report) {}

  void check(NodeId node, std::span<const Read> reads) {
    borders_.assign({0, facts_.plan.heads.q_heads});
    borders_.insert(borders_.end(), share_.borders.begin(), share_.borders.end());
    bool split = !share_.borders.empty();
    for (const Read& read : reads) {
      if (read.h0 == 0 && read.h1 == facts_.plan.heads.q_heads) continue;
      split = true;
      borders_.push_back(read.h0);
      borders_.push_back(read.h1);
    }
    if (split) {
      std::sort(borders_.begin(), borders_.end());
      borders_.erase(std::unique(borders_.begin(), borders_.end()), borders_.end());
    }
    // A read is entered once for each interval between borders that it spans: one, in plans that treat all heads alike.
    rects_.resize(std::max(rects_.size(), borders_.size() - 1));
    for (std::vector<Rect>& rects : rects_) rects.clear();
    for (const Read& read : reads) {
      auto at =
          static_cast<std::size_t>(std::lower_bound(borders_.begin(), borders_.end(), read.h0) - borders_.begin());
      for (; borders_[at] < read.h1; ++at) rects_[at].push_back({read.r0, read.r1, read.t0, read.t1, read.task});
    }
    for (std::size_t i = 0; i + 1 < borders_.size(); ++i) check_heads(node, {borders_[i], borders_[i + 1]}, rects_[i]);
  }

 private:
  void check_heads(NodeId node, Interval heads, std::vector<Rect>& rects) {
    const traces::PrefixForest& forest = facts_.plan.forest;
    const Rect domain{forest.request_begin[node].value, forest.request_end[node].value, 0, forest.tokens[node]};
    add_other_share(domain, heads.begin, rects);
    for (const CoverFault& fault : check_cover(domain, rects, report_.most())) tell(node, heads, fault);
  }

  /// Requests of the domain that this sort of task doesn't serve.
  void add_other_share(const Rect& domain, std::int32_t head, std::vector<Rect>& rects) const {
    const bool chain = kind_ != TaskKind::attend;
    if (share_.borders.empty()) return;
    const auto at = std::upper_bound(share_.borders.begin(), share_.borders.end(), head) - share_.borders.begin() - 1;
    const std::vector<char>& served = share_.requests[static_cast<std::size_t>(at)];
    for (std::int64_t r = domain.x0; r < domain.x1;) {
      const std::int64_t first = r;
      const char value = served[static_cast<std::size_t>(first)];
      while (r < domain.x1 && served[static_cast<std::size_t>(r)] == value) ++r;
      if ((value != 0) != chain) rects.push_back({first, r, domain.y0, domain.y1, kOtherSort});
    }
  }

  void tell(NodeId node, Interval heads, const CoverFault& fault) {
    const Plan& plan = facts_.plan;
    const std::string place =
        fmt::format("tokens [{}, {}) of node {} for request {}, heads [{}, {})", fault.y0, fault.y1,
                    node_name(plan, node), request_name(plan, fault.x), heads.begin, heads.end);
    if (!fault.twice) {
      report_.add(uncovered_token, "no {} task reads {}", kind_name(kind_), place);
    } else if (fault.first == kOtherSort) {
      report_.add(token_covered_twice, "{} task {} reads {}, which the {} serve", kind_name(kind_), fault.second, place,
                  kind_ == TaskKind::attend ? "score tasks" : "attend tasks");
    } else {
      report_.add(token_covered_twice, "{} tasks {} and {} both read {}", kind_name(kind_), fault.first, fault.second,
                  place);
    }
  }

  const Facts& facts_;
  TaskKind kind_;
  const ChainShare& share_;
  Report& report_;
  std::vector<std::int32_t> borders_;
  std::vector<std::vector<Rect>> rects_;
};

}  // namespace

void check_coverage(const Facts& facts, Report& report) {
  const ChainShare share = chain_share(facts);
  for (const TaskKind kind : {TaskKind::attend, TaskKind::scores, TaskKind::values}) {
    if (kind != TaskKind::attend && share.borders.empty()) continue;
    const NodeReads by_node = reads_by_node(facts, kind);
    NodeCover cover(facts, kind, share, report);
    for (const NodeId n : core::ids<NodeId>(facts.plan.forest.node_count())) {
      const std::size_t first = by_node.first[n.index()];
      cover.check(n, std::span(by_node.reads).subspan(first, by_node.first[n.index() + 1] - first));
    }
  }
}

}  // namespace espalier::scheduler::validation
