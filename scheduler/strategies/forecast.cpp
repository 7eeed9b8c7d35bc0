#include "scheduler/strategies/forecast.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "core/error.h"

namespace espalier::scheduler::planning {
namespace {

/// Partial rows are stored in fp32, with a log-sum-exp each.
constexpr double kPartialBytes = 4;
constexpr double kRowsInFlight = 4;
constexpr double kOutOfStep = 0.75;
/// Share of the traffic of merges in place that tasks don't hide.
constexpr double kMergesBeside = 0.7;
constexpr std::size_t kMaxClasses = 512;

/// Of one request and all its heads: a partial row, and its query with its result.
double partial_row_bytes(const traces::HeadConfig& heads) { return static_cast<double>(heads.q_heads) * (heads.v_dim + 1) * kPartialBytes; }
double io_row_bytes(const traces::HeadConfig& heads) {
  return static_cast<double>(heads.q_heads) * (heads.qk_dim + heads.v_dim) * static_cast<double>(traces::dtype_bytes(heads.q_dtype));
}

/// What HBM delivers when the CTAs at work could draw `wanted` bytes a microsecond.
double loaded_hbm_bytes_per_us(const costmodel::DeviceSpec& device, double wanted) {
  const double hbm = device.hbm_achievable_bytes_per_us(), load = wanted / hbm, p = device.hbm_ramp_exponent;
  return hbm * (p == 2 ? load / std::sqrt(1 + load * load) : load / std::pow(1 + std::pow(load, p), 1 / p));
}

/// Partial rows stay in L2 while they and as much KV fit.
double spill_us_of(const costmodel::DeviceSpec& device, double partial_bytes) {
  return partial_bytes > device.l2_knee_mib * 0x1p20 / 2 ? partial_bytes / device.hbm_achievable_bytes_per_us() : 0;
}

class Forecaster {
 public:
  Forecaster(const PlanRequest& request, const Workload& work)
      : device_(request.device), work_(work), kv_bytes_(static_cast<double>(request.heads.kv_bytes_per_token_head())),
        fixed_us_((device_.cta_start_ns + device_.cta_end_ns + device_.hbm_latency_ns) * 1e-3) {
    for (const CtaClass& c : work.classes) {
      ctas_ += c.ctas;
      sms_wanted_ += c.ctas / c.kernel->residents;
      bytes_ += c.ctas * c.tokens * kv_bytes_;
      cold_bytes_ += c.ctas * c.tokens * kv_bytes_ * c.cold;
    }
    crowding_ = std::max(1.0, ctas_ / device_.sms);
    memory_times(request);
  }

  Forecast run() {
    forecast_.total_us = device_.least_launch_gap_us() + std::max(main_us(), std::max(forecast_.hbm_us, forecast_.l2_us) + fixed_us_);
    if (work_.partial_rows > 0) {
      // The last merges: a request's partial rows, kRowsInFlight at a time. Those before ran beside the tasks, if they could.
      const double batches = 1 + work_.partial_rows / work_.requests / kRowsInFlight;
      const double moved = std::max(partial_bytes_ / device_.l2_bytes_per_us(), spill_us_);
      const double shown = work_.merges_in_place ? kMergesBeside * moved : device_.launch_graph_us + fixed_us_ + moved;
      forecast_.merge_us = batches * device_.l2_latency_ns * 1e-3 + shown;
    }
    forecast_.total_us += forecast_.merge_us;
    return forecast_;
  }

 private:
  /// HBM moves each token once, what later readers miss, queries and results; L2 everything.
  void memory_times(const PlanRequest& request) {
    const traces::HeadConfig& heads = request.heads;
    partial_bytes_ = work_.partial_rows * partial_row_bytes(heads);
    spill_us_ = spill_us_of(device_, partial_bytes_);
    const double from_hbm = cold_bytes_ + (bytes_ - cold_bytes_) * (1 - device_.l2_merge_fraction);
    const double rows = work_.requests * io_row_bytes(heads);
    double in_flight = 0;
    for (const CtaClass& c : work_.classes) in_flight += c.ctas * c.kernel->bytes_per_us;
    hbm_rate_ = loaded_hbm_bytes_per_us(device_, in_flight * std::min(1.0, device_.sms / sms_wanted_));
    forecast_.hbm_us = (from_hbm + rows) / hbm_rate_ + spill_us_;
    forecast_.l2_us = (bytes_ + partial_bytes_) / device_.l2_bytes_per_us();
  }

  /// A byte of this class when all the device reads such.
  double byte_us(const CtaClass& c) const { return byte_us(c, hbm_rate_); }
  double byte_us(const CtaClass& c, double hbm_rate) const {
    const double missed = c.cold + (1 - c.cold) * (1 - device_.l2_merge_fraction);
    return std::max(missed / hbm_rate, 1 / device_.l2_bytes_per_us());
  }
  /// The same when only `ctas` of them do.
  double byte_us_of_few(const CtaClass& c, double ctas) const {
    return byte_us(c, loaded_hbm_bytes_per_us(device_, ctas * c.kernel->bytes_per_us));
  }

  double compute_us(const CtaClass& c, double residents) const {
    return std::ceil(c.tokens / c.kernel->config->kv_tile) * c.kernel->tile_us * residents;
  }

  /// Longest first onto the device's slots, class by class: whole rounds at the loaded pace, what remains nearly alone.
  double main_us() {
    struct Loaded {
      double us, port_us, ctas;
      const CtaClass* c;
    };
    std::array<Loaded, kMaxClasses> order;
    const double busy = std::min(1.0, sms_wanted_ / device_.sms);
    std::size_t n = 0;
    for (const CtaClass& c : work_.classes) {
      const double port = c.tokens * kv_bytes_ / c.kernel->bytes_per_us;
      const double shared = c.tokens * kv_bytes_ * byte_us(c) * device_.sms * c.kernel->residents * busy;
      const double residents = std::min<double>(c.kernel->residents, crowding_);
      // A CTA that starts or ends leaves its share of memory to the others; the SM it leaves idle.
      order[n++] = {std::max(fixed_us_ + std::max(compute_us(c, residents), port), shared), port, c.ctas, &c};
    }
    std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), [](const Loaded& a, const Loaded& b) {
      return a.us != b.us ? a.us > b.us : a.c < b.c;
    });
    double end = 0, area = 0, taken = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const Loaded& l = order[i];
      const double residents = l.c->kernel->residents;
      const double crowd = std::min(residents, crowding_);
      forecast_.compute_us += compute_us(*l.c, 1) * l.ctas / device_.sms;
      const double first = std::min(l.ctas, std::max(0.0, std::floor((device_.sms - taken) * residents)));
      if (first > 0) end = std::max(end, fixed_us_ + std::max(l.port_us, compute_us(*l.c, crowd)));
      area += first * l.us / residents;
      taken += first / residents;
      const double later = l.ctas - first;
      if (later <= 0) continue;
      const double slots = device_.sms * residents, rounds = std::floor(later / slots), rest = later - rounds * slots;
      double last = 0;
      if (rest > 0) {
        const double beside = std::max(1.0, std::ceil(rest / device_.sms));
        last = std::max(fixed_us_ + std::max(l.port_us, compute_us(*l.c, beside)), rest * l.c->tokens * kv_bytes_ * byte_us_of_few(*l.c, rest));
      }
      // CTAs of many lengths don't stay in step: the last ones start earlier than whole rounds say.
      end = std::max(end, area / device_.sms + rounds * l.us + (work_.in_step ? last : kOutOfStep * last));
      area += later * l.us / residents;
    }
    if (sms_wanted_ <= device_.sms) end = std::max(end, fixed_us_ + drain_us());
    return std::max(end, forecast_.compute_us);
  }

  /// All CTAs at once, at equal shares of memory: as the short ones leave, the others speed up, to what one CTA can draw at most.
  double drain_us() const {
    std::array<const CtaClass*, kMaxClasses> rising;
    std::size_t n = 0;
    for (const CtaClass& c : work_.classes) rising[n++] = &c;
    std::sort(rising.begin(), rising.begin() + static_cast<std::ptrdiff_t>(n), [](const CtaClass* a, const CtaClass* b) {
      return a->tokens != b->tokens ? a->tokens < b->tokens : a < b;
    });
    double active = ctas_, done = 0, us = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const CtaClass& c = *rising[i];
      us += (c.tokens - done) * kv_bytes_ * std::max(active * byte_us_of_few(c, active), 1 / c.kernel->bytes_per_us);
      done = c.tokens;
      active -= c.ctas;
    }
    // The longest of all, beside half of its class.
    const CtaClass& last = *rising[n - 1];
    const double more = std::max(0.0, last.longest - last.tokens) * kv_bytes_;
    return us + more * std::max(last.ctas / 2 * byte_us_of_few(last, last.ctas / 2), 1 / last.kernel->bytes_per_us);
  }

  const costmodel::DeviceSpec& device_;
  const Workload& work_;
  double kv_bytes_, fixed_us_;
  double ctas_ = 0, sms_wanted_ = 0, bytes_ = 0, cold_bytes_ = 0, crowding_ = 1;
  double partial_bytes_ = 0, spill_us_ = 0, hbm_rate_ = 1;
  Forecast forecast_;
};

}  // namespace

Forecast forecast_shares(const PlanRequest& request, const ShareLoad& load) {
  const costmodel::DeviceSpec& device = request.device;
  const double tile = load.kernel->config->kv_tile;
  // The device's times are those of as many CTAs; only the rounds are different.
  const CtaClass one{load.kernel, load.share_tiles * tile, load.shares, load.cold};
  Forecast f = forecast(request, {std::span(&one, 1), true, true, load.requests, load.partial_rows});
  const double crowd = std::min<double>(load.kernel->residents, std::ceil(load.shares / device.sms));
  const double piece_us = device.cta_end_ns * 1e-3 + load.kernel->tile_us;  // the last tile has nothing to hide under
  const double busy = load.share_tiles * load.kernel->tile_us * crowd + load.share_pieces * piece_us;
  const double start = device.least_launch_gap_us() + (device.cta_start_ns + device.hbm_latency_ns) * 1e-3;
  f.total_us = start + std::max({busy, f.hbm_us, f.l2_us}) + f.merge_us;
  return f;
}

double least_forecast_us(const PlanRequest& request, const LeastLoad& load) {
  const costmodel::DeviceSpec& device = request.device;
  const traces::HeadConfig& heads = request.heads;
  const double kv_bytes = static_cast<double>(heads.kv_bytes_per_token_head());
  const double partial_bytes = load.partial_rows * partial_row_bytes(heads);
  const double from_hbm = (load.cold_tokens + (load.tokens - load.cold_tokens) * (1 - device.l2_merge_fraction)) * kv_bytes;
  const double spill_us = spill_us_of(device, partial_bytes);
  const double hbm_rate = loaded_hbm_bytes_per_us(device, device.sms * load.bytes_per_us);
  const double hbm_us = (from_hbm + load.requests * io_row_bytes(heads)) / hbm_rate + spill_us;
  const double l2_us = (load.tokens * kv_bytes + partial_bytes) / device.l2_bytes_per_us();
  const double start_us = (device.cta_start_ns + device.hbm_latency_ns) * 1e-3;
  double us = device.least_launch_gap_us() + std::max(load.compute_us, start_us + std::max(hbm_us, l2_us));
  if (load.partial_rows > 0) {
    const double start = load.merges_in_place ? 0 : device.launch_graph_us + start_us + device.cta_end_ns * 1e-3;
    us += start + (1 + load.partial_rows / load.requests / kRowsInFlight) * device.l2_latency_ns * 1e-3;
    us += (load.merges_in_place ? kMergesBeside : 1) * std::max(partial_bytes / device.l2_bytes_per_us(), spill_us);
  }
  return us * (1 - 1e-9);  // sums are rounded in another order than there
}

Forecast forecast(const PlanRequest& request, const Workload& work) {
  ESPALIER_CHECK(!work.classes.empty() && work.classes.size() <= kMaxClasses);
  return Forecaster(request, work).run();
}

}  // namespace espalier::scheduler::planning
