#include "scheduler/strategies/forecast.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "core/error.h"
#include "scheduler/strategies/fluid.h"

namespace espalier::scheduler::planning {
namespace {

/// Partial rows are stored in fp32, with a log-sum-exp each.
constexpr double kPartialBytes = 4;
constexpr double kRowsInFlight = 4;
/// Share of the traffic of merges in place that tasks don't hide.
constexpr double kMergesBeside = 0.7;
constexpr std::size_t kMaxClasses = 512;
/// Above its mean by this much the longest CTA of a class counts by itself.
constexpr double kUneven = 1.04;
/// Who has this many times the partial rows of others is merged last.
constexpr double kManyTimes = 4;
/// Of the latency of HBM, what the late one among unlike CTAs shows.
constexpr double kLateShare = 0.5;
/// What a CTA's end may come earlier than by its own bytes, as a share: CTAs that end within a hundredth of their
/// bytes, or more where there are very many, go on as one (fluid.h). A bound must stay below that; far below costs some
/// forecasts.
constexpr double kEarlierEnd = 0.1;
/// Lanes of equal shares read KV from HBM or find it in L2, each for a while: resources that are all nearly full are so
/// at different times.
constexpr double kShareCorner = 10;

/// Of one request and all its heads: a partial row, and its query with its result.
double partial_row_bytes(const traces::HeadConfig& heads) {
  return static_cast<double>(heads.q_heads) * (heads.v_dim + 1) * kPartialBytes;
}
double io_row_bytes(const traces::HeadConfig& heads) {
  return static_cast<double>(heads.q_heads) * (heads.qk_dim + heads.v_dim) *
         static_cast<double>(traces::dtype_bytes(heads.q_dtype));
}

/// Partial rows stay in L2 while they and as much KV fit.
double spill_us_of(const costmodel::DeviceSpec& device, double partial_bytes) {
  return partial_bytes > device.l2_knee_mib * 0x1p20 / 2 ? partial_bytes / device.hbm_achievable_bytes_per_us() : 0;
}

/// Who merges has two rows or more.
struct Merging {
  double requests, partial_rows;
  double merged() const { return std::min(requests, partial_rows / 2); }
  double mean_rows() const { return partial_rows > 0 ? partial_rows / merged() : 0; }
};
/// Of one merge: a request's partial rows, kRowsInFlight at a time, through the port of the SM.
double merge_latency_us(const PlanRequest& request, double rows) {
  if (rows <= 0) return 0;
  const costmodel::DeviceSpec& device = request.device;
  const double bytes = rows * costmodel::our_reduce_kernel().query_tile * (request.heads.v_dim + 1) * kPartialBytes;
  return std::max((1 + rows / kRowsInFlight) * device.l2_latency_ns * 1e-3,
                  bytes / (device.sm_port_bytes_per_clk * device.clocks_per_us()));
}
/// CTA time of all merges in place.
double merging_us(const PlanRequest& request, const Merging& m) {
  if (m.partial_rows <= 0) return 0;
  const double merges = m.merged() * request.heads.q_heads / costmodel::our_reduce_kernel().query_tile;
  return merges * (merge_latency_us(request, m.mean_rows()) + request.device.cta_end_ns * 1e-3);
}

/// Queries and rows of all CTAs, through their ports. A row is partial, or final and its request's only one.
double io_bytes(const traces::HeadConfig& heads, const Merging& m) {
  const double rows = m.partial_rows + m.requests - (m.partial_rows > 0 ? m.merged() : 0),
               q_bytes = static_cast<double>(traces::dtype_bytes(heads.q_dtype));
  const double row_bytes = heads.qk_dim * q_bytes, final_bytes = heads.v_dim * q_bytes;
  return heads.q_heads * (rows * row_bytes + (rows - m.partial_rows) * final_bytes) +
         m.partial_rows * partial_row_bytes(heads);
}

/// Of equal shares: what takes about as long as the longest takes part of that beside it and part of it after.
double corner_us(const Forecast& f) {
  const double longest = std::max({f.hbm_us, f.l2_us, f.compute_us});
  const double all = std::pow(f.hbm_us / longest, kShareCorner) + std::pow(f.l2_us / longest, kShareCorner) +
                     std::pow(f.compute_us / longest, kShareCorner);
  return longest * (std::pow(all, 1 / kShareCorner) - 1);
}

bool is_uneven(const CtaClass& c) { return c.longest > kUneven * c.tokens; }

class Forecaster {
 public:
  Forecaster(const PlanRequest& request, const Workload& work)
      : device_(request.device), work_(work), kv_bytes_(static_cast<double>(request.heads.kv_bytes_per_token_head())),
        hbm_peak_(device_.hbm_achievable_bytes_per_us()),
        port_(device_.sm_port_bytes_per_clk * device_.clocks_per_us()),
        fixed_us_((device_.cta_start_ns + device_.cta_end_ns) * 1e-3) {
    for (const CtaClass& c : work.classes) ctas_ += c.ctas;
    late_us_ = work.unlike ? late_us(request) : 0;
    set_device_times(request);
    set_io_time(request);
    set_merge_time(request);
  }

  Forecast run(double limit_us) {
    const double around = device_.least_launch_gap_us() + forecast_.merge_us + late_us_;
    double least = std::max(forecast_.compute_us, fixed_us_ + std::max(forecast_.hbm_us, forecast_.l2_us));
    if (work_.unlike) least = std::max(least, fixed_us_ + io_us_ + longest_us());
    forecast_.total_us = around + least;
    if (forecast_.total_us < limit_us) {
      forecast_.total_us =
          around + std::max(least, fixed_us_ + io_us_ + flow_us(limit_us - around - fixed_us_ - io_us_));
    }
    return forecast_;
  }

 private:
  /// HBM moves each token once, what later readers miss, queries and results; L2 everything.
  void set_device_times(const PlanRequest& request) {
    double bytes = 0, cold_bytes = 0, in_flight = 0, sms = 0, compute_us = 0;
    std::size_t kernels = 0;
    for (const CtaClass& c : work_.classes) {
      const double read = c.ctas * c.tokens * kv_bytes_;
      bytes += read;
      cold_bytes += read * c.cold;
      if (kernels == 0 || kernel_bytes_[kernels - 1].kernel != c.kernel) {
        ESPALIER_CHECK_OP(kernels, <, kMaxFluidKernels);
        kernel_bytes_[kernels++] = {c.kernel};
      }
      kernel_bytes_[kernels - 1].all += read;
      kernel_bytes_[kernels - 1].cold += read * c.cold;
      in_flight += c.ctas * c.kernel->bytes_per_us;
      sms += c.ctas / c.kernel->residents;
      compute_us += c.ctas * std::ceil(c.tokens / c.kernel->config->kv_tile) * c.kernel->tile_us;
    }
    const double io_from_hbm = work_.requests * io_row_bytes(request.heads);
    io_share_ = io_from_hbm / bytes;
    partial_bytes_ = work_.partial_rows * partial_row_bytes(request.heads);
    spill_us_ = spill_us_of(device_, partial_bytes_);
    const double from_hbm = cold_bytes + (bytes - cold_bytes) * (1 - device_.l2_merge_fraction);
    const double hbm_rate = soft_corner(device_, in_flight * std::min(1.0, device_.sms / sms), hbm_peak_);
    forecast_.hbm_us = (from_hbm + io_from_hbm) / hbm_rate + spill_us_;
    forecast_.l2_us = (bytes + partial_bytes_) / device_.l2_bytes_per_us();
    forecast_.compute_us = compute_us / device_.sms;
  }

  /// Where HBM is what takes time, queries and results pass beside KV, as a part of what it moves, and only the last
  /// CTAs' partial rows take their time at the port. Elsewhere nobody but their own CTA waits for them; alone on its SM
  /// it computes nothing before it has its queries, and all those that begin with it ask for theirs.
  void set_io_time(const PlanRequest& request) {
    const TileKernel& kernel = *work_.classes[0].kernel;
    if (kernel.residents > 1 && forecast_.hbm_us >= forecast_.compute_us) {
      io_us_ = work_.partial_rows * partial_row_bytes(request.heads) / ctas_ / port_;
      return;
    }
    io_share_ = 0;
    io_us_ = io_bytes(request.heads, {work_.requests, work_.partial_rows}) / ctas_ / port_;
    if (kernel.residents == 1) io_us_ += first_queries_us(request, kernel, std::min<double>(ctas_, device_.sms));
    io_between_us_ = io_us_;
  }

  /// Of the last merge. One request that has many times the rows of others is merged when those have been for long.
  double last_rows(const Merging& m) const {
    return work_.most_rows > kManyTimes * m.mean_rows() ? work_.most_rows : m.mean_rows();
  }

  /// Of the last merges. Those before ran beside the tasks, if they could.
  void set_merge_time(const PlanRequest& request) {
    if (work_.partial_rows <= 0) return;
    const Merging merging{work_.requests, work_.partial_rows};
    const double moved = std::max(partial_bytes_ / device_.l2_bytes_per_us(), spill_us_);
    const double shown = work_.merges_in_place ? device_.cta_end_ns * 1e-3 + kMergesBeside * moved
                                               : device_.launch_graph_us + fixed_us_ + moved;
    forecast_.merge_us = merge_latency_us(request, last_rows(merging)) + shown;
    if (!work_.merges_in_place) return;
    // They take the slots of the CTAs they follow: those of earlier waves before the next CTA does, those of the last
    // one after it.
    const double all_us = merging_us(request, merging), slots = device_.sms * work_.classes[0].kernel->residents;
    merging_us_ = all_us / ctas_;
    forecast_.merge_us = std::max(forecast_.merge_us, all_us * std::min(1.0, slots / ctas_) / slots);
  }

  /// Who reads for the first time matters where arithmetic and HBM could take turns; elsewhere a kernel's CTAs are as
  /// if all had the same share of it.
  double cold_of(const CtaClass& c) const {
    const KernelBytes* k = kernel_bytes_.data();
    if (is_compute_bound(forecast_)) return c.cold;
    while (k->kernel != c.kernel) ++k;
    return k->cold / k->all;
  }

  FluidKernel fluid_kernel(const TileKernel& kernel, double cold) const {
    const double merged = 1 - device_.l2_merge_fraction;
    const double from_hbm = cold * 1e3 / device_.hbm_latency_ns;
    const double from_both =
        (1 - cold) * 1e3 / (merged * device_.hbm_latency_ns + (1 - merged) * device_.l2_latency_ns);
    // Queries and results pass beside the KV.
    const double kv_missed = cold + (1 - cold) * merged;
    FluidKernel out;
    out.missed = kv_missed + io_share_;
    out.unloaded = kernel.ring_bytes * (from_hbm + from_both);
    out.unloaded_hbm = kernel.ring_bytes * (from_hbm + from_both * merged) + out.unloaded * io_share_;
    out.sm_us_per_byte = kernel.tile_us / (kernel.config->kv_tile * kv_bytes_);
    out.cap = std::min({out.unloaded, port_, 1 / out.sm_us_per_byte});
    out.sms = 1.0 / kernel.residents;
    out.fixed_us = (device_.cta_start_ns + device_.cta_end_ns) * 1e-3 + kernel.tile_us + merging_us_ + io_between_us_;
    out.ring_bytes = kernel.ring_bytes;
    out.opening_us = kernel.ring_bytes * kv_missed / hbm_peak_;
    // Of two tiles that read the same, one finds in L2 what the other has loaded.
    if (cold < 1) out.alike = work_.copies;
    return out;
  }

  /// Of the longest CTA, if it were alone; somewhat less, as CTAs that end at about the same time go on as one.
  double longest_us() const {
    double us = 0;
    for (const CtaClass& c : work_.classes) {
      us = std::max(us, (is_uneven(c) ? c.longest : c.tokens) * kv_bytes_ / fluid_kernel(*c.kernel, cold_of(c)).cap);
    }
    return (1 - kEarlierEnd) * us;
  }

  /// What the last KV tile of the longest computes on nothing. Only who ends last shows it, and of uneven CTAs that is
  /// the longest.
  static double padding_us(const CtaClass& c, double tokens) {
    const double tile = c.kernel->config->kv_tile;
    return c.kernel->tile_us * std::max(0.0, std::ceil(std::max(c.longest, c.tokens) / tile) - tokens / tile);
  }

  /// From the first byte of all to the last. Large tiles first, each longest first, as they are launched.
  double flow_us(double limit_us) const {
    std::array<FluidKernel, kMaxFluidKernels> kernels;
    std::array<FluidClass, 2 * kMaxClasses> classes;
    std::array<std::pair<const TileKernel*, double>, kMaxFluidKernels> kinds;  // and share of first readers
    std::size_t kernel_count = 0, n = 0;
    for (std::size_t i = work_.classes.size(); i-- > 0;) {
      const CtaClass& c = work_.classes[i];
      const std::pair<const TileKernel*, double> kind{c.kernel, cold_of(c)};
      std::size_t k = 0;
      while (k < kernel_count && kinds[k] != kind) ++k;
      if (k == kernel_count) {
        ESPALIER_CHECK_OP(k, <, kMaxFluidKernels);
        kinds[k] = kind;
        kernels[kernel_count++] = fluid_kernel(*c.kernel, kind.second);
      }
      // The longest end last: one tile's copies, by themselves.
      const double longest = is_uneven(c) ? std::min(c.ctas, work_.copies) : 0, others = c.ctas - longest;
      if (longest > 0) classes[n++] = {k, longest, c.longest * kv_bytes_, padding_us(c, c.longest)};
      if (others <= 0) continue;
      const double tokens = (c.ctas * c.tokens - longest * c.longest) / others;
      classes[n++] = {k, others, tokens * kv_bytes_, longest > 0 ? 0 : padding_us(c, tokens)};
    }
    return fluid_us(device_, std::span(kernels).first(kernel_count), std::span(classes).first(n), limit_us);
  }

  const costmodel::DeviceSpec& device_;
  const Workload& work_;
  double kv_bytes_, hbm_peak_, port_;
  double fixed_us_;  ///< of a CTA besides its bytes
  double ctas_ = 0;
  double partial_bytes_ = 0, spill_us_ = 0;
  double merging_us_ = 0;     ///< of the merges in place, a CTA
  double late_us_ = 0;        ///< what unlike CTAs take longer
  double io_us_ = 0;          ///< of the last CTAs' queries and rows, through their ports
  double io_between_us_ = 0;  ///< of those before, as far as others don't fill it
  double io_share_ = 0;       ///< bytes of queries and results that HBM moves for each byte of KV that CTAs read
  struct KernelBytes {
    const TileKernel* kernel = nullptr;
    double all = 0, cold = 0;
  };
  std::array<KernelBytes, kMaxFluidKernels> kernel_bytes_;  ///< that the CTAs of each kernel read
  Forecast forecast_;
};

}  // namespace

Forecast forecast_shares(const PlanRequest& request, const ShareLoad& load, double limit_us) {
  const costmodel::DeviceSpec& device = request.device;
  const CtaClass one{load.kernel, load.tokens / load.ctas, load.ctas, load.cold};
  Forecast f = Forecaster(request, {std::span(&one, 1), true, 1, load.requests, load.partial_rows}).run(limit_us);
  f.total_us += corner_us(f);
  f.total_us =
      std::max(f.total_us, device.least_launch_gap_us() + device.cta_start_ns * 1e-3 + load.busy_us + f.merge_us);
  return f;
}

double partial_spill_us(const PlanRequest& request, double partial_rows) {
  return spill_us_of(request.device, partial_rows * partial_row_bytes(request.heads));
}

double late_us(const PlanRequest& request) { return kLateShare * request.device.hbm_latency_ns * 1e-3; }

Forecast least_forecast(const PlanRequest& request, const LeastLoad& load) {
  const costmodel::DeviceSpec& device = request.device;
  const traces::HeadConfig& heads = request.heads;
  const double kv_bytes = static_cast<double>(heads.kv_bytes_per_token_head());
  const double partial_bytes = load.partial_rows * partial_row_bytes(heads);
  const double from_hbm =
      (load.cold_tokens + (load.tokens - load.cold_tokens) * (1 - device.l2_merge_fraction)) * kv_bytes;
  const double spill_us = spill_us_of(device, partial_bytes);
  const double hbm_rate = soft_corner(device, device.sms * load.bytes_per_us, device.hbm_achievable_bytes_per_us());
  const double ends_us = (device.cta_start_ns + device.cta_end_ns) * 1e-3;
  Forecast f;
  f.hbm_us = (from_hbm + load.requests * io_row_bytes(heads)) / hbm_rate + spill_us;
  f.l2_us = (load.tokens * kv_bytes + partial_bytes) / device.l2_bytes_per_us();
  f.compute_us = load.compute_us;
  if (load.partial_rows > 0) {
    const double start = load.merges_in_place ? 0 : device.launch_graph_us + ends_us;
    f.merge_us = start + merge_latency_us(request, Merging{load.requests, load.partial_rows}.mean_rows());
    f.merge_us +=
        (load.merges_in_place ? kMergesBeside : 1) * std::max(partial_bytes / device.l2_bytes_per_us(), spill_us);
  }
  f.total_us =
      device.least_launch_gap_us() + std::max(f.compute_us, ends_us + std::max(f.hbm_us, f.l2_us)) + f.merge_us;
  f.total_us *= 1 - 1e-9;  // sums are rounded in another order than there
  return f;
}

double least_shares_us(const PlanRequest& request, const LeastLoad& load) {
  const Forecast f = least_forecast(request, load);
  return f.total_us + corner_us(f);
}

Forecast forecast(const PlanRequest& request, const Workload& work, double limit_us) {
  ESPALIER_CHECK(!work.classes.empty() && work.classes.size() <= kMaxClasses);
  return Forecaster(request, work).run(limit_us);
}

}  // namespace espalier::scheduler::planning
