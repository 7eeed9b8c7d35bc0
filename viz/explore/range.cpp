// What both sides do in a range of time.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/text.h"
#include "viz/explore/views.h"
#include "viz/model/axis.h"

namespace espalier::viz {
namespace {

/// Time that an SM holds a CTA, from its spans.
double covered(std::vector<Span1>& spans) {
  std::sort(spans.begin(), spans.end(), [](const Span1& a, const Span1& b) { return a.begin < b.begin; });
  double sum = 0, past = -1;
  for (const Span1& span : spans) {
    sum += std::max(0.0, span.end - std::max(span.begin, past));
    past = std::max(past, span.end);
  }
  return sum;
}

/// The integral of a series in GB/s over a range of µs, in bytes.
double integral(const scheduler::CounterSeries& series, double begin_us, double end_us) {
  double sum = 0;
  for (std::size_t i = 0; i < series.time_us.size(); ++i) {
    const double from = std::max(begin_us, series.time_us[i]),
                 to = std::min(end_us, i + 1 < series.time_us.size() ? series.time_us[i + 1] : end_us);
    if (to > from) sum += series.value[i] * (to - from) * 1e3;
  }
  return sum;
}

}  // namespace

RangeFigures figures_in(const SideOutcome& side, double begin_us, double end_us) {
  RangeFigures figures;
  const TimelineIndex& index = side.timeline;
  std::set<std::int32_t> tasks, merges;
  double busy = 0;
  std::vector<Span1> of_sm;
  for (std::size_t lane = 0; lane < index.lanes.size(); ++lane) {
    for (auto e = static_cast<std::size_t>(index.lane_begin[lane]);
         e < static_cast<std::size_t>(index.lane_begin[lane + 1]); ++e) {
      const double from = std::max(begin_us, index.begin_us[e]), to = std::min(end_us, index.end_us[e]);
      if (!(to > from)) continue;
      of_sm.push_back({from, to});
      const Item item = index.item[e];
      (item.kind == ItemKind::task ? tasks : merges).insert(item.index);
      if (item.kind != ItemKind::task) continue;
      const double share = (to - from) / (index.end_us[e] - index.begin_us[e]);
      figures.kv_bytes += share * side.work[static_cast<std::size_t>(item.index)].kv_bytes;
      figures.flops += share * side.work[static_cast<std::size_t>(item.index)].flops;
    }
    if (lane + 1 < index.lanes.size() && index.sm[lane + 1] == index.sm[lane]) continue;
    busy += covered(of_sm);
    of_sm.clear();
  }
  figures.tasks = static_cast<std::int64_t>(tasks.size());
  figures.merges = static_cast<std::int64_t>(merges.size());
  const double all = (std::min(end_us, side.us()) - begin_us) * side.device.sms;
  figures.busy = all > 0 ? busy / all : 0;
  for (const scheduler::CounterSeries& series : side.explanation.result.timeline.counters) {
    if (series.name == "HBM") figures.hbm_bytes = integral(series, begin_us, end_us);
  }
  return figures;
}

Facts range_facts(const Outcome& outcome, Span1 range) {
  const double begin = range.begin * axis_us(outcome), end = range.end * axis_us(outcome);
  Facts facts{fmt::format("{:.2f}–{:.2f} µs", begin, end), {}};
  facts.facts.push_back({"takes", value_text(end - begin, Unit::time_us)});
  std::vector<RangeFigures> sides;
  for (const SideOutcome& side : outcome.sides) {
    if (side.shown()) sides.push_back(figures_in(side, begin, end));
  }
  const auto row = [&](const char* name, auto text) {
    std::vector<std::string> values;
    for (const RangeFigures& figures : sides) values.push_back(text(figures));
    facts.facts.push_back({name, core::join(values, "  |  ")});
  };
  if (sides.size() == 2) facts.facts.push_back({"", "A  |  B"});
  row("tasks", [](const RangeFigures& f) { return core::count_text(f.tasks); });
  row("merges", [](const RangeFigures& f) { return core::count_text(f.merges); });
  row("KV read", [](const RangeFigures& f) { return value_text(f.kv_bytes, Unit::bytes); });
  row("from HBM", [](const RangeFigures& f) { return value_text(f.hbm_bytes, Unit::bytes); });
  row("GFLOP", [](const RangeFigures& f) { return fmt::format("{:.3g}", f.flops / 1e9); });
  row("SMs busy", [](const RangeFigures& f) { return fmt::format("{:.0f} %", 100 * f.busy); });
  return facts;
}

}  // namespace espalier::viz
