// Data flow: every row of every slot is written once and used once, every final row is written once, and each use comes
// after its write by launch dependencies, streams, grid barriers or arrival; never by luck of position.
#include <algorithm>
#include <map>
#include <utility>

#include "scheduler/validate_internal.h"

namespace espalier::scheduler::validation {
namespace {

using enum ViolationClass;

__extension__ typedef __int128 Wide;

/// Launches up to which all pairs of them have a bit: 2 MiB.
constexpr std::size_t kMaxAncestorTable = 4096;

bool alias(const Access& a, const Access& b) {
  return a.row_begin < b.row_end && b.row_begin < a.row_end && a.head_begin < b.head_end && b.head_begin < a.head_end;
}

std::string actor(const Access& access) { return fmt::format("{} {}", access.by_step ? "step" : "task", access.item); }

class Flow {
 public:
  Flow(const Facts& facts, const SlotAccesses& accesses, Report& report)
      : facts_(facts), accesses_(accesses), report_(report), order_(facts) {}

  void run() {
    for (const SlotId slot : core::ids<SlotId>(facts_.plan.slots.size())) {
      if (!facts_.slot_good[slot.index()]) continue;
      check_once(slot, accesses_.writes, slot_never_written, slot_written_twice);
      check_once(slot, accesses_.reads, slot_never_merged, slot_merged_twice);
      check_order(slot);
    }
    check_circles();
  }

 private:
  void check_once(SlotId id, const AccessTable& table, ViolationClass never, ViolationClass twice) {
    const Plan& plan = facts_.plan;
    const Slot& slot = plan.slots[id];
    rects_.clear();
    const std::span<const Access> accesses = table.of(id);
    for (std::size_t i = 0; i < accesses.size(); ++i) {
      const Access& a = accesses[i];
      rects_.push_back({a.head_begin, a.head_end, a.row_begin, a.row_end, static_cast<std::int32_t>(i)});
    }
    const Rect domain{slot.head_begin, head_end(slot), 0, slot.queries.size()};
    for (const CoverFault& fault : check_cover(domain, rects_, report_.most())) {
      const auto position = static_cast<std::size_t>(slot.queries.begin + fault.y0);
      const std::string row = fmt::format("row {} (request {}), head {} of slot {}", fault.y0,
                                          request_name(plan, plan.query_rows[position].value), fault.x, id.value);
      const bool write = twice == slot_written_twice;
      if (!fault.twice) {
        report_.add(never, "{} {} {}", write ? "nothing writes" : "nothing takes", row, write ? "" : "to a final row");
      } else {
        report_.add(twice, "{} and {} both {} {}", actor(accesses[static_cast<std::size_t>(fault.first)]),
                    actor(accesses[static_cast<std::size_t>(fault.second)]), write ? "write" : "take", row);
      }
    }
  }

  /// A step of an on_arrival phase waits for its inputs itself; of its own phase's steps too, as long as there is no
  /// circle.
  bool data_ordered(const Access& write, const Access& read) {
    if (write.phase < 0 || read.phase < 0) return true;  // told by phase_order
    const auto from = static_cast<std::size_t>(write.phase), to = static_cast<std::size_t>(read.phase);
    const bool waits = read.by_step && facts_.plan.phases[to].start == PhaseStart::on_arrival;
    if (waits && facts_.phase_launch[from] == facts_.phase_launch[to] && write.phase <= read.phase) {
      if (write.phase == read.phase) waits_.emplace_back(write.item, read.item);
      return true;
    }
    return order_.ordered(write.phase, read.phase);
  }

  void check_order(SlotId slot) {
    const auto writes = accesses_.writes.of(slot), reads = accesses_.reads.of(slot), scans = accesses_.scans.of(slot);
    for (const Access& read : reads) {
      for (const Access& write : writes) check_pair(slot, write, read);
    }
    for (const Access& scan : scans) {
      for (const Access& write : writes) check_pair(slot, write, scan);
      for (const Access& softmax : reads) check_pair(slot, softmax, scan);
    }
  }

  void check_pair(SlotId slot, const Access& before, const Access& after) {
    if (!alias(before, after) || data_ordered(before, after)) return;
    report_.add(merge_cycle, "{} needs slot {} from {}, and nothing makes it wait", actor(after), slot.value,
                actor(before));
  }

  /// Steps that wait for steps of their own phase: all must be able to go sometime.
  void check_circles() {
    const bool forward =
        std::all_of(waits_.begin(), waits_.end(), [](const auto& edge) { return edge.first < edge.second; });
    if (forward) return;
    const std::size_t steps = facts_.plan.steps.size();
    std::vector<std::size_t> begin(steps + 1, 0);
    std::vector<std::int32_t> missing(steps, 0), ready;
    for (const auto& [from, to] : waits_) {
      ++begin[static_cast<std::size_t>(from) + 1];
      ++missing[static_cast<std::size_t>(to)];
    }
    for (std::size_t s = 0; s < steps; ++s) begin[s + 1] += begin[s];
    std::vector<std::size_t> next(begin.begin(), begin.end() - 1);
    std::vector<std::int32_t> waiting(waits_.size());
    for (const auto& [from, to] : waits_) waiting[next[static_cast<std::size_t>(from)]++] = to;
    for (std::size_t s = 0; s < steps; ++s) {
      if (missing[s] == 0) ready.push_back(static_cast<std::int32_t>(s));
    }
    for (std::size_t done = 0; done < ready.size(); ++done) {
      const auto s = static_cast<std::size_t>(ready[done]);
      for (std::size_t k = begin[s]; k < begin[s + 1]; ++k) {
        if (--missing[static_cast<std::size_t>(waiting[k])] == 0) ready.push_back(waiting[k]);
      }
    }
    for (std::size_t s = 0; s < steps; ++s) {
      if (missing[s] > 0) report_.add(merge_cycle, "step {} waits for its own result", s);
    }
  }

  const Facts& facts_;
  const SlotAccesses& accesses_;
  Report& report_;
  PhaseOrder order_;
  std::vector<Rect> rects_;
  std::vector<std::pair<std::int32_t, std::int32_t>> waits_;  ///< steps of one phase: producer, consumer
};

/// Final rows over heads x requests.
void check_finals(const Facts& facts, Report& report) {
  const Plan& plan = facts.plan;
  const auto requests = static_cast<std::int64_t>(plan.forest.request_count());
  std::vector<Rect> rects;
  const auto add = [&](Interval rows, std::int32_t h0, std::int32_t h1, std::int32_t item) {
    for_runs(facts, rows, [&](std::int32_t begin, std::int32_t end) { rects.push_back({h0, h1, begin, end, item}); });
  };
  const auto tasks = static_cast<std::int32_t>(plan.tasks.size());
  for (std::int32_t i = 0; i < tasks; ++i) {
    const Task& task = plan.tasks[TaskId(i)];
    const bool rows = task.kind == TaskKind::attend || task.kind == TaskKind::values;
    if (rows && facts.task_good[static_cast<std::size_t>(i)] && !task.slot.valid()) {
      add(task.queries, task.head_begin, head_end(task), i);
    }
  }
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const ReductionStep& step = plan.steps.raw()[i];
    if (step.out.valid() || !facts.step_good[i]) continue;
    add({step.out_row, step.out_row + step.rows}, step.head_begin, head_end(step),
        tasks + static_cast<std::int32_t>(i));
  }
  const auto name = [&](std::int32_t item) {
    return item < tasks ? fmt::format("task {}", item) : fmt::format("step {}", item - tasks);
  };
  for (const CoverFault& fault : check_cover({0, plan.heads.q_heads, 0, requests}, rects, report.most())) {
    const std::string row = fmt::format("the final row of request {}, head {}", request_name(plan, fault.y0), fault.x);
    if (!fault.twice) {
      report.add(final_row_missing, "nothing writes {}", row);
    } else {
      report.add(final_row_twice, "{} and {} both write {}", name(fault.first), name(fault.second), row);
    }
  }
}

/// A row's scores are normalised together, so one softmax task must have them all.
void check_one_softmax(const Facts& facts, Report& report) {
  const Plan& plan = facts.plan;
  std::vector<Rect> rects;
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const Task& task = plan.tasks.raw()[i];
    if (task.kind != TaskKind::softmax || !facts.task_good[i]) continue;
    for_runs(facts, task.queries, [&](std::int32_t begin, std::int32_t end) {
      rects.push_back({task.head_begin, head_end(task), begin, end, static_cast<std::int32_t>(i)});
    });
  }
  if (rects.size() < 2) return;
  const Rect domain{0, plan.heads.q_heads, 0, static_cast<std::int64_t>(plan.forest.request_count())};
  for (const CoverFault& fault : check_cover(domain, rects, report.most())) {
    if (!fault.twice) continue;
    report.add(slot_merged_twice, "softmax tasks {} and {} both normalise request {}, head {}", fault.first,
               fault.second, request_name(plan, fault.y0), fault.x);
  }
}

/// Queries two row intervals have in common.
std::int64_t common_rows(const Facts& facts, Interval a, Interval b) {
  std::int64_t rows = 0;
  for_common(facts, a, b, [&](std::int32_t, std::int32_t, std::int32_t n) { rows += n; });
  return rows;
}

Interval rows_of(const Task& task, const Segment& segment) {
  return {task.queries.begin + segment.row_begin, task.queries.begin + segment.row_end};
}

/// (query, head, token) triples of a values task's segment whose scores `writer` put into a slot the task folds.
Wide scored(const Facts& facts, const Task& task, const Segment& segment, const Task& writer) {
  const Plan& plan = facts.plan;
  const std::int64_t heads = std::min(head_end(task), head_end(writer)) - std::max(task.head_begin, writer.head_begin);
  if (heads <= 0) return 0;
  Wide found = 0;
  for (std::int32_t s = writer.segments.begin; s < writer.segments.end; ++s) {
    const Segment& held = plan.segments[static_cast<std::size_t>(s)];
    if (held.node != segment.node) continue;
    const std::int64_t tokens =
        std::min(segment_end(plan, segment), segment_end(plan, held)) - std::max(segment.token_begin, held.token_begin);
    if (tokens <= 0) continue;
    found += Wide{tokens} * heads * common_rows(facts, rows_of(task, segment), rows_of(writer, held));
  }
  return found;
}

/// A slot folded twice would weigh its tokens twice, and could hide one that is missing from a count.
bool folds_twice(const Plan& plan, Interval folds) {
  std::vector<SlotId> slots(plan.fold_slots.begin() + folds.begin, plan.fold_slots.begin() + folds.end);
  std::sort(slots.begin(), slots.end());
  return std::adjacent_find(slots.begin(), slots.end()) != slots.end();
}

/// Every token a values task reads has its probability in a folded slot. Scores cover each triple at most once
/// (check_coverage) and no slot is folded twice, so equal counts mean equal sets.
void check_values(const Facts& facts, const SlotAccesses& accesses, Report& report) {
  const Plan& plan = facts.plan;
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const Task& task = plan.tasks.raw()[i];
    if (task.kind != TaskKind::values || !facts.task_good[i]) continue;
    if (folds_twice(plan, task.folds)) report.add(slot_mismatch, "values task {} folds a slot twice", i);
    for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
      const Segment& segment = plan.segments[static_cast<std::size_t>(s)];
      const std::int64_t tokens = std::max<std::int64_t>(segment_tokens(plan, segment), 0);
      const Wide wanted = Wide{tokens} * (segment.row_end - segment.row_begin) * (head_end(task) - task.head_begin);
      Wide found = 0;
      for (std::int32_t f = task.folds.begin; f < task.folds.end; ++f) {
        std::int32_t last = -1;
        for (const Access& write : accesses.writes.of(plan.fold_slots[static_cast<std::size_t>(f)])) {
          if (write.by_step || write.item == last) continue;  // one access for each run of rows of the same writer
          last = write.item;
          found += scored(facts, task, segment, plan.tasks[TaskId(write.item)]);
        }
      }
      if (found == wanted) continue;
      report.add(slot_mismatch,
                 "values task {}: tokens [{}, {}) of node {} don't each have one score in the slots it folds", i,
                 segment.token_begin, segment_end(plan, segment), node_name(plan, segment.node));
    }
  }
}

/// Columns mean tokens in the order of the writer's segments, so writers that share a score slot must share the list.
void check_columns(const Facts& facts, const SlotAccesses& accesses, Report& report) {
  for (const SlotId slot : core::ids<SlotId>(facts.plan.slots.size())) {
    if (facts.plan.slots[slot].kind != SlotKind::scores) continue;
    const std::span<const Access> writes = accesses.writes.of(slot);
    for (const Access& write : writes) {
      if (write.by_step || writes[0].by_step) continue;
      const Task &first = facts.plan.tasks[TaskId(writes[0].item)], &task = facts.plan.tasks[TaskId(write.item)];
      if (first.segments == task.segments) continue;
      report.add(slot_mismatch, "tasks {} and {} write different tokens into the columns of slot {}", writes[0].item,
                 write.item, slot.value);
      break;
    }
  }
}

}  // namespace

PhaseOrder::PhaseOrder(const Facts& facts) : facts_(facts), previous_(facts.plan.launches.size(), -1) {
  std::map<std::int32_t, std::int32_t> last;  // of each stream
  for (std::size_t l = 0; l < previous_.size(); ++l) {
    const auto [at, fresh] = last.try_emplace(facts.plan.launches.raw()[l].stream, -1);
    previous_[l] = std::exchange(at->second, static_cast<std::int32_t>(l));
  }
  if (previous_.size() <= kMaxAncestorTable) {
    find_ancestors();
  } else {
    seen_.resize(previous_.size(), 0);
  }
}

template <class F>
void PhaseOrder::for_waited(std::int32_t launch, F&& visit) const {
  const Interval dependencies = facts_.plan.launches[LaunchId(launch)].dependencies;
  for (std::int32_t d = dependencies.begin; d < dependencies.end; ++d) {
    const LaunchId next = facts_.plan.dependencies[static_cast<std::size_t>(d)];
    // Dependencies lead to earlier launches; those that don't have been told and are not followed.
    if (next.value < launch) visit(next.value);
  }
  if (previous_[static_cast<std::size_t>(launch)] >= 0) visit(previous_[static_cast<std::size_t>(launch)]);
}

void PhaseOrder::find_ancestors() {
  words_ = (previous_.size() + 63) / 64;
  ancestors_.assign(words_ * previous_.size(), 0);
  for (std::size_t l = 0; l < previous_.size(); ++l) {
    std::uint64_t* row = &ancestors_[l * words_];
    for_waited(static_cast<std::int32_t>(l), [&](std::int32_t before) {
      const auto b = static_cast<std::size_t>(before);
      if ((row[b / 64] >> (b % 64) & 1) != 0) return;  // and so are all before it
      for (std::size_t w = 0; w < words_; ++w) row[w] |= ancestors_[b * words_ + w];
      row[b / 64] |= std::uint64_t{1} << (b % 64);
    });
  }
}

bool PhaseOrder::ordered(std::int32_t before, std::int32_t after) {
  if (before < 0 || after < 0) return true;
  const auto p = static_cast<std::size_t>(before), q = static_cast<std::size_t>(after);
  const std::int32_t from = facts_.phase_launch[p], to = facts_.phase_launch[q];
  if (from == to) return before < after && facts_.barriers[p] < facts_.barriers[q];
  return reaches(from, to);
}

bool PhaseOrder::reaches(std::int32_t before, std::int32_t after) {
  const auto b = static_cast<std::size_t>(before);
  if (words_ > 0) return (ancestors_[static_cast<std::size_t>(after) * words_ + b / 64] >> (b % 64) & 1) != 0;
  if (after != after_) {
    after_ = after;
    ++stamp_;
    stack_.assign(1, after);
    while (!stack_.empty()) {
      const std::int32_t launch = stack_.back();
      stack_.pop_back();
      for_waited(launch, [&](std::int32_t next) {
        if (seen_[static_cast<std::size_t>(next)] == stamp_) return;
        seen_[static_cast<std::size_t>(next)] = stamp_;
        stack_.push_back(next);
      });
    }
  }
  return seen_[b] == stamp_;
}

void check_flow(const Facts& facts, const SlotAccesses& accesses, Report& report) {
  Flow(facts, accesses, report).run();
  check_finals(facts, report);
}

void check_score_chain(const Facts& facts, const SlotAccesses& accesses, Report& report) {
  check_one_softmax(facts, report);
  check_values(facts, accesses, report);
  check_columns(facts, accesses, report);
}

}  // namespace espalier::scheduler::validation
