#include "viz/model/time_split.h"

namespace espalier::viz {

Paint bound_paint(sim::Bound bound) {
  switch (bound) {
    case sim::Bound::hbm:
      return Paint::hbm;
    case sim::Bound::l2:
      return Paint::l2;
    case sim::Bound::compute:
      return Paint::compute;
    case sim::Bound::latency:
      return Paint::latency;
    case sim::Bound::fixed:
      return Paint::fixed;
  }
  return Paint::none;
}

std::vector<SplitPart> time_split(const sim::SmTimeReasons& r) {
  std::vector<SplitPart> parts = {
      {"compute", "the pipes are busy", r.compute, false, Paint::compute},
      {"starts and ends", "dispatch, prologues, epilogues of CTAs", r.fixed, false, Paint::fixed},
      {"HBM", "waits for HBM bandwidth", r.hbm, false, Paint::hbm},
      {"L2", "waits for L2 bandwidth", r.l2, false, Paint::l2},
      {"latency ramp", "waits: too few bytes in flight", r.latency, false, Paint::latency},
      {"launch", "empty: between launches, at barriers", r.launch, true, Paint::launch},
      {"too few CTAs", "empty: never a CTA for these SMs", r.few, true, Paint::few},
      {"tail", "empty: the last CTAs end", r.tail, true, Paint::tail},
      {"imbalance", "empty: longer CTAs or queues still run", r.imbalance, true, Paint::imbalance},
      {"merge wait", "empty: only merges run", r.merge, true, Paint::merge},
  };
  double total = 0;
  for (const SplitPart& part : parts) total += part.share;
  for (SplitPart& part : parts) part.share = total > 0 ? part.share / total : 0;
  return parts;
}

}  // namespace espalier::viz
