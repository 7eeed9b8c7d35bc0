// Rates of a steady mix, CTAs laid onto slots greedily at these rates, and the drain of the last wave.
#include "sim/batch_time.h"

#include <algorithm>
#include <cmath>

#include "sim/bandwidth.h"

namespace espalier::sim {
namespace {

/// The steady mix of stages is a fixed point; it moves by under a percent after this many rounds.
constexpr int kRounds = 4;
/// In the drain, rates are found anew when no more than this share of the CTAs is left that there were at the last
/// time.
constexpr double kFewerCtas = 0.97;

/// Batches of several waves are cut into at most so many windows of dispatch order, each with a mix of its own: misses
/// first and hits after them don't overlap.
constexpr double kWindows = 8;

/// Where a run's CTAs end: what the drain has to know of them.
struct RunEnd {
  const CtaRun* run = nullptr;
  double rate = 0;   ///< loaded rate of its main flow
  double fixed = 0;  ///< share of its time that no rate shortens
};

/// `count` slots that come free at `at`, when a CTA of run `end` is through; -1: nobody has had them.
struct Free {
  double at = 0;
  std::int32_t count = 0, end = -1;
  friend bool operator<(const Free& a, const Free& b) { return a.at > b.at; }  // heap: the soonest first
};

/// Puts `free` in the place of the heap's first.
void replace_first(std::vector<Free>& heap, const Free& free) {
  const std::size_t size = heap.size();
  std::size_t at = 0;
  for (std::size_t child = 1; child < size; child = 2 * at + 1) {
    child += child + 1 < size && heap[child + 1].at < heap[child].at ? 1 : 0;
    if (!(heap[child].at < free.at)) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = free;
}

}  // namespace

class BatchTimer::Steps {
 public:
  Steps(const WorkList& list, const costmodel::DeviceSpec& device)
      : list_(list), device_(device), place_(list.classes.size(), -1) {}

  double us(const CtaBatch& batch) {
    collect(batch);
    if (ctas_ <= 0) return 0;
    const double capacity = device_.sms * static_cast<double>(list_.sm_units) / (batch.units / batch.ctas);
    slots_ = std::max(1.0, std::min(std::floor(capacity + 1e-9), batch.ctas));
    settle();
    // The first CTAs start together and the last ones end together, so memory rests while they do; in the steady mix it
    // never does.
    const double steady = total_us(rates_);
    std::vector<FlowRate> together = rates_;
    const double lockstep = settle_lockstep(together);
    if (ctas_ <= slots_) rates_ = together;
    lay_out(batch);
    const double us = drain() + (ctas_ <= slots_ ? 0 : std::max(0.0, lockstep - steady) / ctas_);
    return us + arrivals_us(batch);
  }

 private:
  void collect(const CtaBatch& batch) {
    flows_.clear();
    bytes_.clear();
    ids_.clear();
    ctas_ = fixed_ = 0;
    for (const CtaRun& run : batch.runs) add(run);
    for (const auto& queue : batch.queues) {
      for (const CtaRun& run : queue) add(run);
    }
    for (const std::int32_t id : ids_) place_[static_cast<std::size_t>(id)] = -1;
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      place_[static_cast<std::size_t>(ids_[i])] = static_cast<std::int32_t>(i);
    }
  }

  void add(const CtaRun& run) {
    const auto n = static_cast<double>(run.count);
    ctas_ += n;
    fixed_ += n * fixed_us(run);
    if (run.kind->main_class >= 0) flow(run.kind->main_class, n * run.kind->main_bytes, n, true);
    if (run.kind->io_class >= 0) flow(run.kind->io_class, n * run.kind->io_bytes, n, false);
  }

  void flow(std::int32_t id, double bytes, double ctas, bool main) {
    std::int32_t& at = place_[static_cast<std::size_t>(id)];
    if (at < 0 || static_cast<std::size_t>(at) >= ids_.size() || ids_[static_cast<std::size_t>(at)] != id) {
      at = static_cast<std::int32_t>(ids_.size());
      ids_.push_back(id);
      flows_.push_back(list_.classes[static_cast<std::size_t>(id)]);
      bytes_.push_back(0);
      mains_.resize(ids_.size());
      ios_.resize(ids_.size());
      mains_.back() = ios_.back() = 0;
    }
    add_flow(static_cast<std::size_t>(at), bytes, ctas, main ? mains_ : ios_);
  }

  void add_flow(std::size_t at, double bytes, double ctas, std::vector<double>& of) {
    bytes_[at] += bytes;
    of[at] += ctas;
  }

  static double fixed_us(const CtaRun& run) { return run.start_us + run.kind->exposed_us + run.kind->end_us; }

  /// Time of all CTAs at the rates of `rates_`, in CTA x us.
  double total_us(const std::vector<FlowRate>& rates) const {
    double sum = fixed_;
    for (std::size_t i = 0; i < bytes_.size(); ++i) sum += bytes_[i] / rates[i].bytes_per_us;
    return sum;
  }

  /// Rates when `slots_` CTAs are spread over the stages as their durations are; those of classes without bytes stay.
  void settle_mix() {
    active_.clear();
    at_.clear();
    for (std::size_t i = 0; i < flows_.size(); ++i) {
      if (bytes_[i] <= 0) continue;
      rates_[i] = {flows_[i].cap_bytes_per_us, flows_[i].cap_bound};
      active_.push_back(flows_[i]);
      at_.push_back(i);
    }
    for (int round = 0; round < kRounds && !active_.empty(); ++round) {
      const double all = total_us(rates_);
      for (std::size_t k = 0; k < at_.size(); ++k) {
        const std::size_t i = at_[k];
        active_[k].count = slots_ * bytes_[i] / rates_[i].bytes_per_us / all;
      }
      share_bandwidth(active_, device_, rest_rates_);
      for (std::size_t k = 0; k < at_.size(); ++k) rates_[at_[k]] = rest_rates_[k];
    }
  }

  void settle() {
    rates_.clear();
    for (const FlowClass& flow : flows_) rates_.push_back({flow.cap_bytes_per_us, flow.cap_bound});
    settle_mix();
  }

  /// Rates of the CTAs from run `begin` on, `ctas` of them or a little more; returns the run behind them.
  std::size_t settle_window(const std::vector<CtaRun>& runs, std::size_t begin, double ctas) {
    for (auto* sums : {&bytes_, &mains_, &ios_}) std::fill(sums->begin(), sums->end(), 0.0);
    fixed_ = 0;
    double left = 0;
    for (std::size_t r = begin; r < runs.size(); ++r) left += static_cast<double>(runs[r].count);
    if (left < 1.5 * ctas) ctas = left;  // a short rest belongs to the window before it
    std::size_t end = begin;
    for (double n = 0; end < runs.size() && n < ctas; ++end) {
      const CtaRun& run = runs[end];
      const auto count = static_cast<double>(run.count);
      n += count;
      fixed_ += count * fixed_us(run);
      const CtaKind& kind = *run.kind;
      if (kind.main_class >= 0) add_flow(place_of(kind.main_class), count * kind.main_bytes, count, mains_);
      if (kind.io_class >= 0) add_flow(place_of(kind.io_class), count * kind.io_bytes, count, ios_);
    }
    settle_mix();
    return end;
  }

  std::size_t place_of(std::int32_t id) const { return static_cast<std::size_t>(place_[static_cast<std::size_t>(id)]); }

  /// Rates when all CTAs are in their main flows, and when all are in their io flows: what a single wave of equals
  /// sees. Returns the time of all CTAs at these, in CTA x us.
  double settle_lockstep(std::vector<FlowRate>& rates) {
    double us = fixed_;
    for (const auto* counts : {&mains_, &ios_}) {
      active_.clear();
      at_.clear();
      for (std::size_t i = 0; i < flows_.size(); ++i) {
        if ((*counts)[i] <= 0) continue;
        active_.push_back(flows_[i]);
        active_.back().count = slots_ * (*counts)[i] / ctas_;
        at_.push_back(i);
      }
      share_bandwidth(active_, device_, rest_rates_);
      for (std::size_t k = 0; k < at_.size(); ++k) {
        const std::size_t i = at_[k];
        rates[i] = rest_rates_[k];
        us += bytes_[i] * (*counts)[i] / (mains_[i] + ios_[i]) / rates[i].bytes_per_us;
      }
    }
    return us;
  }

  /// The index of the run's end; `us` is its loaded time.
  std::int32_t add_end(const CtaRun& run, double us) {
    const double rate = run.kind->main_class < 0 ? 0 : rates_[place_of(run.kind->main_class)].bytes_per_us;
    ends_.push_back({&run, rate, fixed_us(run) / std::max(us, 1e-12)});
    return static_cast<std::int32_t>(ends_.size()) - 1;
  }

  double loaded(const CtaRun& run) const {
    double us = fixed_us(run);
    const CtaKind& kind = *run.kind;
    if (kind.main_class >= 0) us += kind.main_bytes / rates_[place_of(kind.main_class)].bytes_per_us;
    if (kind.io_class >= 0) us += kind.io_bytes / rates_[place_of(kind.io_class)].bytes_per_us;
    return us;
  }

  /// Merges on arrival take the slots of the CTAs they follow: those of earlier waves before the next CTA does, those
  /// of the last one after it.
  double arrivals_us(const CtaBatch& batch) const {
    double all = 0, longest = 0;
    for (const CtaRun& run : batch.arrivals) {
      const double us = alone(run);
      all += us * static_cast<double>(run.count);
      longest = std::max(longest, us);
    }
    const double last = std::min(1.0, slots_ / ctas_);
    return all * (1 - last) / slots_ + std::max(longest, all * last / slots_);
  }

  /// A CTA that nobody disturbs.
  double alone(const CtaRun& run) const {
    double us = fixed_us(run);
    if (run.kind->main_class >= 0) {
      us += run.kind->main_bytes / list_.classes[static_cast<std::size_t>(run.kind->main_class)].cap_bytes_per_us;
    }
    if (run.kind->io_class >= 0) {
      us += run.kind->io_bytes / list_.classes[static_cast<std::size_t>(run.kind->io_class)].cap_bytes_per_us;
    }
    return us;
  }

  /// Times at which the slots are through, at loaded rates: greedy in dispatch order, a queue on a slot of its own.
  void lay_out(const CtaBatch& batch) {
    free_.clear();
    ends_.clear();
    double base = 0;  // of all of free_
    for (const auto& queue : batch.queues) {
      double us = 0;
      for (const CtaRun& run : queue) us += loaded(run) * static_cast<double>(run.count);
      free_.push_back({us, 1, add_end(queue.back(), loaded(queue.back()))});
    }
    if (batch.runs.empty()) return;
    const auto slots = static_cast<std::int32_t>(slots_) - static_cast<std::int32_t>(free_.size());
    if (slots > 0) free_.push_back({0, slots, -1});
    std::make_heap(free_.begin(), free_.end());
    const double windows = std::min(kWindows, std::floor(ctas_ / slots_));
    std::size_t settled = batch.queues.empty() && windows >= 2 ? 0 : batch.runs.size();
    for (std::size_t r = 0; r < batch.runs.size(); ++r) {
      const CtaRun& run = batch.runs[r];
      if (r == settled) settled = settle_window(batch.runs, r, ctas_ / windows);
      const double us = loaded(run);
      std::int64_t left = run.count;
      const auto all = static_cast<std::int64_t>(slots_);
      if (left >= 2 * all) {  // whole rounds of equal CTAs lift every slot by the same
        const std::int64_t rounds = left / all - 1;
        base += static_cast<double>(rounds) * us;
        left -= rounds * all;
      }
      const std::int32_t end = left > 0 ? add_end(run, us) : -1;
      while (left > 0) {
        Free& soonest = free_.front();
        const auto taken = static_cast<std::int32_t>(std::min(left, std::int64_t{soonest.count}));
        left -= taken;
        const Free after{soonest.at + us, taken, end};
        if (taken == soonest.count) {
          replace_first(free_, after);
        } else {
          soonest.count -= taken;
          free_.push_back(after);
          std::push_heap(free_.begin(), free_.end());
        }
      }
    }
    for (Free& free : free_) free.at += base;
  }

  /// From virtual time (at loaded rates) to time: the CTAs that are left go at their own rates, found anew whenever a
  /// few have gone. Each main class has a clock of its own, as misses and hits speed up by unlike factors.
  double drain() {
    split_by_class();
    double left = 0, us = 0;
    for (Rest& rest : rests_) {
      left += rest.count;
      rest.fixed /= std::max(rest.weight, 1e-12);
    }
    double paced_at = ctas_ <= slots_ ? left / kFewerCtas : slots_;  // a single wave: all of them, from the start
    for (;;) {
      if (left <= kFewerCtas * paced_at) {
        pace_rest();
        paced_at = left;
      }
      Rest* next = nullptr;
      double wait = 0;
      for (Rest& rest : rests_) {
        if (rest.next == rest.ends.size()) continue;
        const double own = (rest.ends[rest.next].at - rest.at) * rest.pace;
        if (next != nullptr && own >= wait) continue;
        next = &rest;
        wait = own;
      }
      if (next == nullptr) return us;
      us += wait;
      for (Rest& rest : rests_) rest.at += wait / rest.pace;
      next->at = next->ends[next->next].at;
      const auto n = static_cast<double>(next->ends[next->next++].count);
      next->count -= n;
      left -= n;
    }
  }

  /// CTAs of one main class that are left.
  struct Rest {
    std::int32_t place = -1;  ///< of the class, -1: no main flow
    std::vector<Free> ends;   ///< by time
    std::size_t next = 0;
    double at = 0, count = 0, pace = 1;
    double rate = 0;  ///< loaded
    double fixed = 0,
           weight = 0;  ///< share of time that no rate shortens: a sum over CTAs weighted by their ends, then the mean
  };

  void split_by_class() {
    std::sort(free_.begin(), free_.end(), [](const Free& a, const Free& b) { return a.at < b.at; });
    rests_.clear();
    for (const Free& free : free_) {
      if (free.end < 0) continue;
      const RunEnd& end = ends_[static_cast<std::size_t>(free.end)];
      const std::int32_t id = end.run->kind->main_class;
      const std::int32_t place = id < 0 ? -1 : static_cast<std::int32_t>(place_of(id));
      auto rest = std::find_if(rests_.begin(), rests_.end(),
                               [&](const Rest& r) { return r.place == place && r.rate == end.rate; });
      if (rest == rests_.end()) {
        rests_.push_back({});
        rest = rests_.end() - 1;
        rest->place = place;
        rest->rate = end.rate;
      }
      if (!rest->ends.empty() && rest->ends.back().at == free.at) {
        rest->ends.back().count += free.count;
      } else {
        rest->ends.push_back(free);
      }
      rest->count += static_cast<double>(free.count);
      rest->fixed += static_cast<double>(free.count) * free.at * end.fixed;
      rest->weight += static_cast<double>(free.count) * free.at;
    }
  }

  /// pace: time of a CTA of the class over its time at loaded rates.
  void pace_rest() {
    active_.clear();
    at_.clear();
    for (std::size_t r = 0; r < rests_.size(); ++r) {
      if (rests_[r].count < 0.5 || rests_[r].place < 0) continue;
      active_.push_back(flows_[static_cast<std::size_t>(rests_[r].place)]);
      active_.back().count = rests_[r].count;
      at_.push_back(r);
    }
    if (active_.empty()) return;
    share_bandwidth(active_, device_, rest_rates_);
    for (std::size_t k = 0; k < at_.size(); ++k) {
      Rest& rest = rests_[at_[k]];
      rest.pace = rest.fixed + (1 - rest.fixed) * rest.rate / rest_rates_[k].bytes_per_us;
    }
  }

  const WorkList& list_;
  const costmodel::DeviceSpec& device_;
  std::vector<std::int32_t> place_;  ///< by class: its index here
  std::vector<FlowClass> flows_, active_;
  std::vector<std::int32_t> ids_;
  std::vector<std::size_t> at_;
  std::vector<double> bytes_, mains_, ios_;  ///< by class here: bytes, and CTAs that have it as main or io flow
  std::vector<FlowRate> rates_, rest_rates_;
  std::vector<Free> free_;
  std::vector<RunEnd> ends_;
  std::vector<Rest> rests_;
  double ctas_ = 0, fixed_ = 0, slots_ = 1;
};

BatchTimer::BatchTimer(const WorkList& list, const costmodel::DeviceSpec& device)
    : steps_(std::make_unique<Steps>(list, device)) {}
BatchTimer::~BatchTimer() = default;
double BatchTimer::us(const CtaBatch& batch) { return steps_->us(batch); }

}  // namespace espalier::sim
