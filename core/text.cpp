#include "core/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace espalier::core {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::string shell_quoted(std::string_view text) {
  const auto plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("_-./:,=+@%").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), plain)) return std::string(text);
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i != 0) out += separator;
    out += parts[i];
  }
  return out;
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_number(std::string_view text) {
  const bool plus = text.size() > 1 && text[0] == '+' && ((text[1] >= '0' && text[1] <= '9') || text[1] == '.');
  if (plus) text.remove_prefix(1);  // from_chars takes none
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

namespace {

/// Three significant digits without an exponent.
std::string three_digits(double x) {
  const double a = std::abs(x);
  return a >= 99.95 ? fmt::format("{:.0f}", x) : a >= 9.995 ? fmt::format("{:.1f}", x) : fmt::format("{:.2f}", x);
}

/// Insertions, deletions, replacements and swaps of neighbours: what fingers do.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string bytes_text(std::int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto x = static_cast<double>(bytes);
  std::size_t unit = 0;
  // Limits here and below lie where three digits would round up to the next unit.
  while (std::abs(x) >= 1023.5 && unit + 1 < std::size(kUnits)) {
    x /= 1024.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{} {}", three_digits(x), kUnits[unit]);
}

std::string time_text(double microseconds) {
  const double a = std::abs(microseconds);
  if (a < 0.9995) return fmt::format("{:.0f} ns", microseconds * 1e3);
  if (a < 999.5) return three_digits(microseconds) + " us";
  if (a < 999.5e3) return three_digits(microseconds / 1e3) + " ms";
  return three_digits(microseconds / 1e6) + " s";
}

std::string count_text(std::int64_t count) {
  const auto x = static_cast<double>(count);
  if (std::abs(x) < 1e5) return fmt::format("{}", count);
  if (std::abs(x) < 999.5e3) return three_digits(x / 1e3) + " k";
  if (std::abs(x) < 999.5e6) return three_digits(x / 1e6) + " M";
  return three_digits(x / 1e9) + " G";
}

std::string counted(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::optional<std::string> nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  for (const std::string& candidate : candidates) {
    if (name.size() >= 3 && candidate.starts_with(name)) return candidate;  // cut short, not misspelt
  }
  std::optional<std::string> best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 2);
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < best_distance || (!best && distance == best_distance)) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string unknown_name(std::string_view kind, std::string_view name, const std::vector<std::string>& candidates) {
  if (const auto near = nearest_name(name, candidates)) {
    return fmt::format("unknown {} '{}'; did you mean '{}'?", kind, name, *near);
  }
  return fmt::format("unknown {} '{}'; known: {}", kind, name, join(candidates, ", "));
}

}  // namespace espalier::core
