#include "apps/pair_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "apps/html_text.h"
#include "apps/plan_page.h"
#include "core/hash.h"
#include "core/text.h"
#include "scheduler/plan_statistics.h"
#include "viz/model/time_split.h"
#include "viz/picture/pictures.h"
#include "viz/scene/svg.h"

namespace espalier::apps {
namespace {

constexpr double kWidth = 1072, kHalf = 522;
constexpr std::int64_t kMostBoxes = 4000;

/// Both, in order.
using Sides = std::array<const PageSide*, 2>;

std::string name_of(const PageSide& side) {
  return fmt::format("{} on {}", side.plan.provenance.strategy, side.device.name);
}
double us_of(const PageSide& side) { return side.explanation.result.makespan_us; }

std::string verdict_html(const PageSide& a, const PageSide& b) {
  const PageSide &fast = us_of(a) <= us_of(b) ? a : b, &slow = us_of(a) <= us_of(b) ? b : a;
  const double ratio = us_of(fast) > 0 ? us_of(slow) / us_of(fast) : 1;
  const std::string fast_name = html_text(name_of(fast)), slow_name = html_text(name_of(slow));
  const std::string times = fmt::format("{} and {}", html_time(us_of(fast)), html_time(us_of(slow)));
  const std::string sentence =
      ratio < 1.03 ? fmt::format("{} and {} are as good: {}.", fast_name, slow_name, times)
                   : fmt::format("{} is {:.2f}× as fast as {}: {}.", fast_name, ratio, slow_name, times);
  return "<p class=\"verdict\">" + sentence + "</p>\n";
}

std::string figures_html(const Sides& sides) {
  std::string out = "<table class=\"list\"><tr><th></th>";
  for (const PageSide* s : sides) out += "<th class=\"n\">" + html_name(name_of(*s)) + "</th>";
  out += "</tr>\n";
  const auto row = [&](const char* name, auto text) {
    out += fmt::format("<tr><td>{}</td>", name);
    for (const PageSide* s : sides) out += "<td class=\"n\">" + text(*s) + "</td>";
    out += "</tr>\n";
  };
  row("time a layer", [](const PageSide& s) { return html_time(us_of(s)); });
  row("of the lower bound", [](const PageSide& s) {
    const double bound = scheduler::lower_bound(s.plan.forest, s.plan.heads, s.device).us;
    return us_of(s) > 0 ? fmt::format("{:.0f} %", 100 * bound / us_of(s)) : std::string("–");
  });
  row("HBM traffic", [](const PageSide& s) { return core::bytes_text(s.explanation.result.hbm_bytes); });
  row("task copies", [](const PageSide& s) { return core::count_text(scheduler::statistics(s.plan).tasks); });
  row("partial rows a head",
      [](const PageSide& s) { return core::count_text(scheduler::statistics(s.plan).partial_rows); });
  return out + "</table>\n";
}

/// One forest where both plans are of one, else each its own.
std::string forests_html(const Sides& sides) {
  std::string out;
  const bool same = sides[0]->plan.forest.name == sides[1]->plan.forest.name &&
                    sides[0]->plan.forest.tokens == sides[1]->plan.forest.tokens;
  for (std::size_t i = 0; i < (same ? 1U : 2U); ++i) {
    const scheduler::Plan& plan = sides[i]->plan;
    const std::int64_t bytes = plan.heads.kv_bytes_per_token();
    out += "<h3>Forest" + (same ? std::string() : " of " + html_text(name_of(*sides[i]))) +
           "</h3><p class=\"remark\">across: requests; down: tokens</p>\n";
    out += viz::html_fragment(viz::forest_picture(plan.forest, bytes, {kWidth, 200, false, true, kMostBoxes}));
    out += html_legend("KV bytes that reading once saves:", viz::saving_scale(plan.forest, bytes).legend());
  }
  out +=
      "<h3>Who reads what</h3><p class=\"remark\">each box a task's share of the forest; strong colour: one read "
      "serves many queries</p><div class=\"pair\">\n";
  for (const PageSide* s : sides) {
    out += "<div><h4>" + html_text(name_of(*s)) + "</h4>" +
           viz::html_fragment(viz::cover_picture(s->plan, {kHalf, 170, false, true, kMostBoxes})) + "</div>\n";
  }
  return out + "</div>\n";
}

std::string timelines_html(const Sides& sides) {
  const double end_us = std::max({us_of(*sides[0]), us_of(*sides[1]), 1e-3});
  std::string out = "<h3>Timelines</h3><p class=\"remark\">SMs on one time scale; below each: HBM bandwidth</p>\n";
  std::vector<viz::LegendEntry> legend;
  for (const PageSide* s : sides) {
    const sim::SimResult& result = s->explanation.result;
    out += "<h4>" + html_text(name_of(*s)) + ", " + html_time(us_of(*s)) + "</h4>" +
           viz::html_fragment(viz::timeline_picture(s->plan, result, end_us, {kWidth, 186, false, true, kMostBoxes}));
    out += viz::html_fragment(viz::bandwidth_picture(result, end_us, s->device, {kWidth, 56, false, false}));
    for (const viz::LegendEntry& entry : viz::timeline_legend(s->plan, result)) {
      const bool known =
          std::any_of(legend.begin(), legend.end(), [&](const auto& l) { return l.paint == entry.paint; });
      if (!known) legend.push_back(entry);
    }
  }
  std::stable_sort(legend.begin(), legend.end(), [](const auto& l, const auto& r) { return l.paint < r.paint; });
  return out + html_legend("queries served by one read:", legend);
}

std::string split_html(const Sides& sides) {
  std::string out = "<h3>Where SM time goes</h3>\n", head = "<tr><th></th>";
  for (const PageSide* s : sides) {
    out += "<h4>" + html_text(name_of(*s)) + "</h4>" +
           viz::html_fragment(viz::split_picture(s->explanation.sm_time, {kWidth, 0, false, true}));
    head += "<th class=\"n\">" + html_name(name_of(*s)) + "</th>";
  }
  const std::vector<viz::SplitPart> a = viz::time_split(sides[0]->explanation.sm_time),
                                    b = viz::time_split(sides[1]->explanation.sm_time);
  out += "<table class=\"list\">" + head + "</tr>\n";
  for (std::size_t p = 0; p < a.size(); ++p) {
    if (std::max(a[p].share, b[p].share) < 0.0005) continue;
    out += fmt::format(
        "<tr><td>{} <span class=\"wide p{}\">{}</span></td><td class=\"n\">{:.1f} %</td><td class=\"n\">{:.1f} "
        "%</td></tr>\n",
        a[p].name, static_cast<int>(viz::Paint::muted), a[p].note, 100 * a[p].share, 100 * b[p].share);
  }
  return out + "</table>\n";
}

std::string reproduce_html(const Sides& sides) {
  std::string lines = plan_command(sides[0]->plan, "a.json") + plan_command(sides[1]->plan, "b.json");
  std::string devices;
  for (std::size_t i = 0; i < sides.size(); ++i) {
    const std::string& name = sides[i]->device.name;
    const bool known = names_known_device(name);
    const char* file = i == 0 ? "a-device.json" : "b-device.json";
    if (!known) lines += fmt::format("# {}: device {}, which only its file holds\n", file, name);
    devices += fmt::format(" --device {}", known ? core::shell_quoted(name) : file);
  }
  lines += "espalier export html a.json --beside b.json" + devices;
  return "<h3>How to reproduce this</h3>\n<pre>" + html_text(lines + " -o page.html") + "</pre>\n";
}

}  // namespace

std::string pair_page(const PageSide& a, const PageSide& b) {
  const Sides sides = {&a, &b};
  const std::string title = a.plan.provenance.strategy == b.plan.provenance.strategy
                                ? name_of(a) + " and " + b.device.name
                                : a.plan.provenance.strategy + " and " + b.plan.provenance.strategy;
  std::string out = page_head(title) + verdict_html(a, b) + figures_html(sides) + forests_html(sides) +
                    timelines_html(sides) + split_html(sides);
  const PageSide& winner = us_of(a) <= us_of(b) ? a : b;
  out += helps_html(winner.explanation, name_of(winner)) + reproduce_html(sides);
  return out + fmt::format(
                   "</section>\n<footer><p class=\"remark\">{}; heads {}; plans {} and {}. All times are simulated, "
                   "none is measured.</p></footer>\n</body></html>\n",
                   html_text(a.plan.forest.name), html_text(traces::heads_text(a.plan.heads)),
                   core::hash_text(a.plan.hash), core::hash_text(b.plan.hash));
}

}  // namespace espalier::apps
