#include "scheduler/strategies/fluid.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace espalier::scheduler::planning {
namespace {

/// CTAs of a kernel whose ends differ by less than this share of their bytes go on as one; by any, when there is no room for more.
constexpr double kAlike = 0.01;
constexpr std::size_t kMaxCohorts = 128, kMaxArrivals = 128;
/// Memory serves the first wave's opening requests in turn: CTAs begin apart, in groups of this share of the SMs, by half the time that the
/// requests before take. It matters where others wait for their slots, and where the last to begin may be the last to end.
constexpr double kTurnShare = 0.5, kGroupShare = 0.25;
/// Bytes a microsecond of a flow for which rounding has left nothing.
constexpr double kLeastRate = 1e-6;

/// The CTAs of a kernel at work.
struct Flow {
  double ctas = 0;
  double moved = 0;  ///< bytes that a CTA at work all along would have moved
  double rate = 0;
};

/// CTAs that end together.
struct Cohort {
  std::size_t kernel;
  double ctas, end;  ///< Flow::moved at their end
};

/// CTAs that have a slot and wait for their first byte.
struct Arrival {
  std::size_t kernel;
  double ctas, bytes, at_us;
};

class Fluid {
 public:
  Fluid(const costmodel::DeviceSpec& device, std::span<const FluidKernel> kernels, std::span<const FluidClass> classes, bool unlike)
      : device_(device), kernels_(kernels), classes_(classes), unlike_(unlike), free_(device.sms), hbm_(device.hbm_achievable_bytes_per_us()),
        l2_(device.l2_bytes_per_us()), waiting_(classes[0].ctas) {
    ESPALIER_CHECK_OP(kernels.size(), <=, kMaxFluidKernels);
    double sms = 0;
    for (const FluidClass& c : classes) {
      sms += c.ctas * kernels[c.kernel].sms;
      misses_ += c.ctas * c.bytes * kernels[c.kernel].missed;
    }
    waves_ = sms > device.sms;
  }

  double run(double limit_us) {
    dispatch();
    for (;;) {
      arrive();
      if (cohort_count_ == 0 && arrival_count_ == 0) return us_;
      const double least = us_ + misses_ / hbm_;
      if (least > limit_us) return least;
      fill();
      pass(next_us());
      if (leave()) dispatch();
    }
  }

 private:
  /// CTAs that wait take free slots, in order.
  void dispatch() {
    while (next_ < classes_.size()) {
      const FluidClass& c = classes_[next_];
      const double sms = kernels_[c.kernel].sms, ctas = std::min(std::floor(free_ / sms + 1e-6), waiting_);
      if (ctas > 0) {
        free_ -= ctas * sms;
        waiting_ -= ctas;
        if (us_ > 0) arrive_at({c.kernel, ctas, c.bytes, us_ + kernels_[c.kernel].fixed_us});
        else if (waves_ || unlike_) open(c, ctas);
        else add({c.kernel, ctas, c.bytes, 0});
      }
      if (waiting_ > 0) return;
      waiting_ = ++next_ < classes_.size() ? classes_[next_].ctas : 0;
    }
  }

  void open(const FluidClass& c, double ctas) {
    for (double left = ctas; left > 0;) {
      const double some = std::min(left, std::max(1.0, std::floor(kGroupShare * device_.sms)));
      arrive_at({c.kernel, some, c.bytes, kTurnShare * queue_us_});
      queue_us_ += some * kernels_[c.kernel].opening_us;
      left -= some;
    }
  }

  /// Arrivals are kept latest first: nearly always the new one is the latest.
  void arrive_at(const Arrival& arrival) {
    if (arrival_count_ == arrivals_.size()) return add(arrival);
    std::size_t i = arrival_count_++;
    for (; i > 0 && arrivals_[i - 1].at_us < arrival.at_us; --i) arrivals_[i] = arrivals_[i - 1];
    arrivals_[i] = arrival;
  }

  void arrive() {
    while (arrival_count_ > 0 && arrivals_[arrival_count_ - 1].at_us <= us_) add(arrivals_[--arrival_count_]);
  }

  void add(const Arrival& arrival) {
    Flow& flow = flows_[arrival.kernel];
    flow.ctas += arrival.ctas;
    const double end = flow.moved + arrival.bytes;
    const double alike = cohort_count_ < cohorts_.size() ? kAlike * arrival.bytes : std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < cohort_count_; ++i) {
      Cohort& other = cohorts_[i];
      if (other.kernel != arrival.kernel || std::abs(end - other.end) > alike) continue;
      other.end += (end - other.end) * arrival.ctas / (other.ctas + arrival.ctas);
      other.ctas += arrival.ctas;
      return;
    }
    ESPALIER_CHECK_OP(cohort_count_, <, cohorts_.size());
    cohorts_[cohort_count_++] = {arrival.kernel, arrival.ctas, end};
  }

  double next_us() const {
    double us = arrival_count_ > 0 ? arrivals_[arrival_count_ - 1].at_us - us_ : std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < cohort_count_; ++i) {
      const Flow& flow = flows_[cohorts_[i].kernel];
      us = std::min(us, (cohorts_[i].end - flow.moved) / flow.rate);
    }
    return us;
  }

  void pass(double us) {
    us_ += us;
    misses_ -= us * missing_;
    for (std::size_t k = 0; k < kernels_.size(); ++k) flows_[k].moved += us * flows_[k].rate;
  }

  /// Whether anybody left.
  bool leave() {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < cohort_count_; ++i) {
      const Cohort cohort = cohorts_[i];
      Flow& flow = flows_[cohort.kernel];
      if (cohort.end > flow.moved * (1 + 1e-12)) {
        cohorts_[kept++] = cohort;
        continue;
      }
      flow.ctas -= cohort.ctas;
      free_ += cohort.ctas * kernels_[cohort.kernel].sms;
    }
    return std::exchange(cohort_count_, kept) != kept;
  }

  /// All rates rise together until a resource is full; who has reached its own limit stays behind.
  void fill() {
    double active = 0, unloaded = 0, unloaded_hbm = 0;
    for (std::size_t k = 0; k < kernels_.size(); ++k) {
      flows_[k].rate = 0;
      active += flows_[k].ctas;
      unloaded += flows_[k].ctas * kernels_[k].unloaded;
      unloaded_hbm += flows_[k].ctas * kernels_[k].unloaded_hbm;
    }
    double hbm = soft_corner(device_, unloaded_hbm, hbm_), l2 = soft_corner(device_, unloaded, l2_), pipes = std::min<double>(device_.sms, active);
    missing_ = 0;
    for (bool capped = true; capped;) {
      double misses = 0, ctas = 0, sm_us = 0;
      for (std::size_t k = 0; k < kernels_.size(); ++k) {
        if (flows_[k].rate > 0) continue;
        ctas += flows_[k].ctas;
        misses += flows_[k].ctas * kernels_[k].missed;
        sm_us += flows_[k].ctas * kernels_[k].sm_us_per_byte;
      }
      if (ctas <= 0) return;
      const double level = std::max(kLeastRate, std::min({hbm / misses, l2 / ctas, pipes / sm_us}));
      capped = false;
      for (std::size_t k = 0; k < kernels_.size(); ++k) capped |= flows_[k].ctas > 0 && flows_[k].rate == 0 && kernels_[k].cap < level;
      for (std::size_t k = 0; k < kernels_.size(); ++k) {
        Flow& flow = flows_[k];
        if (flow.ctas <= 0 || flow.rate > 0 || (capped && kernels_[k].cap >= level)) continue;
        flow.rate = std::min(kernels_[k].cap, level);
        const double bytes = flow.rate * flow.ctas;
        missing_ += bytes * kernels_[k].missed;
        hbm -= bytes * kernels_[k].missed;
        l2 -= bytes;
        pipes -= bytes * kernels_[k].sm_us_per_byte;
      }
    }
  }

  const costmodel::DeviceSpec& device_;
  std::span<const FluidKernel> kernels_;
  std::span<const FluidClass> classes_;
  bool unlike_;                ///< CTAs of many lengths
  double free_;                ///< SMs
  double hbm_, l2_;
  bool waves_ = false;         ///< not all CTAs have a slot from the start
  double us_ = 0;
  double misses_ = 0;          ///< bytes still to come from HBM
  double missing_ = 0;         ///< of these, a microsecond
  std::size_t next_ = 0;       ///< class that waits
  double waiting_;             ///< CTAs of it
  double queue_us_ = 0;        ///< HBM's time for the opening requests so far
  std::array<Flow, kMaxFluidKernels> flows_{};
  std::array<Cohort, kMaxCohorts> cohorts_;
  std::size_t cohort_count_ = 0;
  std::array<Arrival, kMaxArrivals> arrivals_;
  std::size_t arrival_count_ = 0;
};

}  // namespace

double fluid_us(const costmodel::DeviceSpec& device, std::span<const FluidKernel> kernels, std::span<const FluidClass> classes, double limit_us, bool unlike) {
  if (classes.empty()) return 0;
  return Fluid(device, kernels, classes, unlike).run(limit_us);
}

double soft_corner(const costmodel::DeviceSpec& device, double unloaded, double peak) {
  const double load = unloaded / peak, p = device.hbm_ramp_exponent;
  return p == 2 ? unloaded / std::sqrt(1 + load * load) : unloaded / std::pow(1 + std::pow(load, p), 1 / p);
}

}  // namespace espalier::scheduler::planning
