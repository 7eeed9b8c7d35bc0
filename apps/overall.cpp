// All inputs of a comparison together: how far each strategy is from the best of each input, and what the winner gains
// on the best of the others. Every input counts once, whatever its number of snapshots or its time.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "apps/compare.h"
#include "apps/terminal.h"
#include "core/text.h"

namespace espalier::apps {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

/// Geometric mean times of one (input, device) over its snapshots; infinite for a strategy that didn't serve all of
/// them.
using Times = std::map<std::string, double>;

double best_of(const Times& times, const std::string& except) {
  double best = kNone;
  for (const auto& [strategy, us] : times) best = strategy == except ? best : std::min(best, us);
  return best;
}

/// Inputs share something worth reading once from here on.
constexpr double kShares = 1.2;

bool some_share_nothing(const std::vector<ReportRow>& rows, const std::string& device) {
  return std::any_of(rows.begin(), rows.end(),
                     [&](const ReportRow& row) { return row.device == device && row.dedupe < kShares; });
}

std::map<std::string, Times> times_by_input(const std::vector<ReportRow>& rows, const std::string& device,
                                            double least_dedupe = 0) {
  std::map<std::string, std::map<std::string, std::pair<double, int>>> sums;
  for (const ReportRow& row : rows) {
    if (row.device != device || row.dedupe < least_dedupe) continue;
    auto& [sum, count] = sums[row.input][row.strategy];
    sum += row.status == RowStatus::ok && row.time_us ? std::log(*row.time_us) : kNone;
    ++count;
  }
  std::map<std::string, Times> times;
  for (const auto& [input, strategies] : sums) {
    for (const auto& [strategy, sum] : strategies) times[input][strategy] = std::exp(sum.first / sum.second);
  }
  return times;
}

std::vector<Standing> standings(const std::map<std::string, Times>& inputs) {
  std::map<std::string, Standing> all;
  for (const auto& [input, times] : inputs) {
    const double best = best_of(times, "");
    for (const auto& [strategy, us] : times) {
      Standing& standing = all[strategy];
      standing.strategy = strategy;
      if (us == kNone) continue;
      ++standing.served;
      standing.log_sum += std::log(us / best);
      standing.wins += us == best;
      if (us / best <= standing.worst) continue;
      standing.worst = us / best;
      standing.worst_input = input;
    }
  }
  std::vector<Standing> ranked;
  for (auto& [name, standing] : all) ranked.push_back(std::move(standing));
  std::stable_sort(ranked.begin(), ranked.end(), [](const Standing& a, const Standing& b) {
    if (a.served != b.served) return a.served > b.served;
    return a.served > 0 && a.log_sum < b.log_sum;
  });
  return ranked;
}

std::string winners_gain(const std::map<std::string, Times>& inputs, const std::string& winner) {
  double log_sum = 0, least = kNone;
  std::string least_input;
  int count = 0;
  for (const auto& [input, times] : inputs) {
    const double other = best_of(times, winner);
    if (other == kNone || times.at(winner) == kNone) continue;
    const double gain = other / times.at(winner);
    log_sum += std::log(gain);
    ++count;
    if (gain >= least) continue;
    least = gain;
    least_input = input;
  }
  if (count == 0) return "";
  return fmt::format(
      "{} against the best of the others on each input: {:.3f}x in the geometric mean, at least {:.3f}x ({})", winner,
      std::exp(log_sum / count), least, least_input);
}

/// Medians over snapshots, by how long the bound is: fixed costs weigh on short ones.
std::string winners_share(const std::vector<ReportRow>& rows, const std::string& device, const std::string& winner) {
  struct Range {
    double low_us;
    const char* text;
    std::vector<double> shares = {};
  };
  std::vector<Range> ranges = {{100, "where it is 100 us or more"}, {20, "at 20-100 us"}, {0, "below 20 us"}};
  for (const ReportRow& row : rows) {
    if (row.device != device || row.strategy != winner || !row.share_of_bound) continue;
    const auto range =
        std::find_if(ranges.begin(), ranges.end(), [&](const Range& r) { return row.lower_bound_us >= r.low_us; });
    range->shares.push_back(*row.share_of_bound);
  }
  std::vector<std::string> parts;
  for (Range& range : ranges) {
    if (range.shares.empty()) continue;
    const auto middle = range.shares.begin() + static_cast<std::ptrdiff_t>(range.shares.size() / 2);
    std::nth_element(range.shares.begin(), middle, range.shares.end());
    parts.push_back(fmt::format("{:.0f} % {} ({})", *middle * 100, range.text, range.shares.size()));
  }
  return fmt::format("its median share of the lower bound: {}", core::join(parts, ", "));
}

}  // namespace

double Standing::mean() const { return std::exp(log_sum / served); }

std::vector<Overall> overall(const std::vector<ReportRow>& rows, const CompareOptions& options) {
  std::vector<Overall> all;
  for (const costmodel::DeviceSpec& device : options.devices) {
    const std::map<std::string, Times> inputs = times_by_input(rows, device.name);
    if (inputs.size() < 2) continue;
    Overall one{device.name, inputs.size(), standings(inputs), {}};
    if (one.ranked.size() < 2) continue;
    if (const Standing& first = one.ranked.front(); first.served > 0) {
      if (std::string gain = winners_gain(inputs, first.strategy); !gain.empty()) {
        one.sentences.push_back(std::move(gain));
      }
      const std::map<std::string, Times> sharing = times_by_input(rows, device.name, kShares);
      if (std::string gain = winners_gain(sharing, first.strategy);
          !gain.empty() && some_share_nothing(rows, device.name)) {
        one.sentences.push_back(fmt::format("of snapshots with a dedupe of {} or more ({}), {}", kShares,
                                            core::counted(sharing.size(), "input"), gain));
      }
      one.sentences.push_back(winners_share(rows, device.name, first.strategy));
    }
    all.push_back(std::move(one));
  }
  return all;
}

std::string render_overall(const std::vector<ReportRow>& rows, const CompareOptions& options) {
  std::string text;
  for (const Overall& one : overall(rows, options)) {
    Table table({"strategy", "behind the best", "at worst", "on", "best on", "serves"},
                {Align::left, Align::right, Align::right, Align::left, Align::right, Align::right});
    for (const Standing& s : one.ranked) {
      if (s.served == 0) {
        table.row({s.strategy, "-", "-", "", "0", "0"});
        continue;
      }
      table.row({s.strategy, fmt::format("{:.3f}x", s.mean()), fmt::format("{:.2f}x", s.worst), s.worst_input,
                 std::to_string(s.wins), std::to_string(s.served)});
    }
    text += fmt::format("all {} inputs on {} (geometric means, each input counts once)\n{}", one.inputs, one.device,
                        one.ranked.front().served > 0 ? table.finish({0}) : table.finish());
    if (one.sentences.empty()) continue;
    text += "  " + core::join(one.sentences, "\n  ") + "\n\n";
  }
  return text;
}

}  // namespace espalier::apps
