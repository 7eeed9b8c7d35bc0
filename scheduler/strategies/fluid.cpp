#include "scheduler/strategies/fluid.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace espalier::scheduler::planning {
namespace {

/// CTAs of a kernel whose ends differ by less than this share of their bytes go on as one; by any, when there is no
/// room for more.
constexpr double kAlike = 0.01;
constexpr std::size_t kMaxCohorts = 128, kMaxArrivals = 128;
/// Memory serves the first wave's opening requests in turn: CTAs begin apart, in groups, by half the time that the
/// requests before take. A group is of equals and at most this share of the SMs, as in the event engine; or of more, up
/// to this share of the slots, where its turn is below that share of HBM's time for everything, so that long plans have
/// few.
constexpr double kTurnShare = 0.5, kGroupShare = 0.25, kShortTurn = 0.02;
/// Groups of the first wave, about: more take time and room.
constexpr double kMostGroups = 32;
/// Bytes a microsecond of a flow for which rounding has left nothing.
constexpr double kLeastRate = 1e-6;

/// CTAs that end together.
struct Cohort {
  double ctas, end;   ///< Flow::moved at their last byte
  double end_us;      ///< of the longest, after it
  std::size_t place;  ///< in the order in which cohorts began
};

/// CTAs that have a slot and wait for their first byte.
struct Arrival {
  std::size_t kernel;
  double ctas, bytes, at_us, end_us;
};

/// Sorted, smallest first; of equals the new one. Nearly always the new one is the largest, or close. Holds `Most`, a
/// power of two.
template <class T, double T::*key, std::size_t Most>
class Ring {
 public:
  std::size_t size() const { return end_ - begin_; }
  T& operator[](std::size_t i) { return rows_[(begin_ + i) % Most]; }
  const T& operator[](std::size_t i) const { return rows_[(begin_ + i) % Most]; }
  void pop() { ++begin_; }
  void insert(const T& row) {
    ++end_;
    std::size_t i = size() - 1;
    for (; i > 0 && (*this)[i - 1].*key >= row.*key; --i) (*this)[i] = (*this)[i - 1];
    (*this)[i] = row;
  }
  /// Row `i` has grown, or shrunk.
  void settle(std::size_t i) {
    for (; i + 1 < size() && (*this)[i + 1].*key < (*this)[i].*key; ++i) std::swap((*this)[i], (*this)[i + 1]);
    for (; i > 0 && (*this)[i - 1].*key > (*this)[i].*key; --i) std::swap((*this)[i], (*this)[i - 1]);
  }

 private:
  std::array<T, Most> rows_;
  std::size_t begin_ = 0, end_ = 0;
};

/// The CTAs of a kernel at work.
struct Flow {
  double ctas = 0;
  double moved = 0;  ///< bytes that a CTA at work all along would have moved
  double rate = 0;
  Ring<Cohort, &Cohort::end, kMaxCohorts> cohorts;
};

class Fluid {
 public:
  Fluid(const costmodel::DeviceSpec& device, std::span<const FluidKernel> kernels, std::span<const FluidClass> classes)
      : device_(device), kernels_(kernels), classes_(classes), free_(device.sms),
        hbm_(device.hbm_achievable_bytes_per_us()), l2_(device.l2_bytes_per_us()), waiting_(classes[0].ctas) {
    ESPALIER_CHECK_OP(kernels.size(), <=, kMaxFluidKernels);
    for (const FluidClass& c : classes) misses_ += c.ctas * c.bytes * kernels[c.kernel].missed;
    double unloaded = 0;  // of slots full of the kernel that asks for most
    for (const FluidKernel& k : kernels) unloaded = std::max(unloaded, device.sms / k.sms * k.unloaded_hbm);
    most_ = soft_corner(device, unloaded, hbm_);
  }

  double run(double limit_us) {
    dispatch();
    for (;;) {
      arrive();
      if (cohort_count_ == 0 && arrivals_.size() == 0) return done_us_;
      const double least = std::max(done_us_, us_ + misses_ / most_);
      if (least > limit_us) return least;
      if (kernels_.size() == 1) {
        fill_alone();
      } else {
        fill();
      }
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
        if (us_ > 0) {
          arrive_at({c.kernel, ctas, c.bytes, us_ + kernels_[c.kernel].fixed_us, c.end_us});
        } else {
          open(c, ctas);
        }
      }
      if (waiting_ > 0) return;
      waiting_ = ++next_ < classes_.size() ? classes_[next_].ctas : 0;
    }
  }

  void open(const FluidClass& c, double ctas) {
    const FluidKernel& kernel = kernels_[c.kernel];
    const double slots = device_.sms / kernel.sms, most = kGroupShare * slots;
    const double least = std::min(std::max(kernel.alike, slots / kMostGroups), kGroupShare * device_.sms);
    const double opening_us =
        c.bytes < kernel.ring_bytes ? kernel.opening_us * c.bytes / kernel.ring_bytes : kernel.opening_us;
    const double group =
        opening_us > 0 ? std::max(1.0, std::floor(std::clamp(kShortTurn * misses_ / (hbm_ * opening_us), least, most)))
                       : ctas;
    for (double left = ctas; left > 0;) {
      const double some = std::min(left, group);
      arrive_at({c.kernel, some, c.bytes, kTurnShare * queue_us_, c.end_us});
      queue_us_ += some * opening_us;
      left -= some;
    }
  }

  void arrive_at(const Arrival& arrival) {
    if (arrivals_.size() == kMaxArrivals) return add(arrival);
    arrivals_.insert(arrival);
  }

  void arrive() {
    for (; arrivals_.size() > 0 && arrivals_[0].at_us <= us_; arrivals_.pop()) add(arrivals_[0]);
  }

  void add(const Arrival& arrival) {
    Flow& flow = flows_[arrival.kernel];
    flow.ctas += arrival.ctas;
    const double end = flow.moved + arrival.bytes;
    const double alike =
        flow.cohorts.size() < kMaxCohorts ? kAlike * arrival.bytes : std::numeric_limits<double>::infinity();
    // Of several that are alike the one that began first.
    std::size_t first = flow.cohorts.size();
    for (std::size_t i = flow.cohorts.size(); i-- > 0 && end - flow.cohorts[i].end <= alike;) {
      if (flow.cohorts[i].end - end > alike) continue;
      if (first == flow.cohorts.size() || flow.cohorts[i].place < flow.cohorts[first].place) first = i;
    }
    if (first < flow.cohorts.size()) {
      Cohort& other = flow.cohorts[first];
      other.end += (end - other.end) * arrival.ctas / (other.ctas + arrival.ctas);
      other.ctas += arrival.ctas;
      other.end_us = std::max(other.end_us, arrival.end_us);
      flow.cohorts.settle(first);
      return;
    }
    ++cohort_count_;
    flow.cohorts.insert({arrival.ctas, end, arrival.end_us, places_++});
  }

  double next_us() const {
    double us = arrivals_.size() > 0 ? arrivals_[0].at_us - us_ : std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k < kernels_.size(); ++k) {
      const Flow& flow = flows_[k];
      if (flow.cohorts.size() > 0) us = std::min(us, (flow.cohorts[0].end - flow.moved) / flow.rate);
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
    const std::size_t before = cohort_count_;
    for (std::size_t k = 0; k < kernels_.size(); ++k) {
      Flow& flow = flows_[k];
      for (; flow.cohorts.size() > 0 && flow.cohorts[0].end <= flow.moved * (1 + 1e-12); flow.cohorts.pop()) {
        flow.ctas -= flow.cohorts[0].ctas;
        free_ += flow.cohorts[0].ctas * kernels_[k].sms;
        done_us_ = std::max(done_us_, us_ + flow.cohorts[0].end_us);
        --cohort_count_;
      }
    }
    return cohort_count_ != before;
  }

  /// What fill() comes to with one kernel.
  void fill_alone() {
    const FluidKernel& kernel = kernels_[0];
    Flow& flow = flows_[0];
    flow.rate = missing_ = 0;
    if (flow.ctas <= 0) return;
    const double hbm = soft_corner(device_, flow.ctas * kernel.unloaded_hbm, hbm_),
                 l2 = soft_corner(device_, flow.ctas * kernel.unloaded, l2_);
    const double pipes = std::min<double>(device_.sms, flow.ctas);
    const double level =
        std::min({hbm / (flow.ctas * kernel.missed), l2 / flow.ctas, pipes / (flow.ctas * kernel.sm_us_per_byte)});
    flow.rate = std::min(kernel.cap, std::max(kLeastRate, level));
    missing_ = flow.rate * flow.ctas * kernel.missed;
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
    double hbm = soft_corner(device_, unloaded_hbm, hbm_), l2 = soft_corner(device_, unloaded, l2_),
           pipes = std::min<double>(device_.sms, active);
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
      for (std::size_t k = 0; k < kernels_.size(); ++k) {
        capped |= flows_[k].ctas > 0 && flows_[k].rate == 0 && kernels_[k].cap < level;
      }
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
  double free_;  ///< SMs
  double hbm_, l2_;
  double most_;  ///< bytes a microsecond that CTAs draw from HBM at most
  double us_ = 0;
  double done_us_ = 0;    ///< when the last of those who left were through
  double misses_ = 0;     ///< bytes still to come from HBM
  double missing_ = 0;    ///< of these, a microsecond
  std::size_t next_ = 0;  ///< class that waits
  double waiting_;        ///< CTAs of it
  double queue_us_ = 0;   ///< HBM's time for the opening requests so far
  std::array<Flow, kMaxFluidKernels> flows_;
  std::size_t cohort_count_ = 0, places_ = 0;
  Ring<Arrival, &Arrival::at_us, kMaxArrivals> arrivals_;
};

}  // namespace

double fluid_us(const costmodel::DeviceSpec& device, std::span<const FluidKernel> kernels,
                std::span<const FluidClass> classes, double limit_us) {
  if (classes.empty()) return 0;
  return Fluid(device, kernels, classes).run(limit_us);
}

}  // namespace espalier::scheduler::planning
