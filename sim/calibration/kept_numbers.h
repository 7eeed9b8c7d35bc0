// Numbers that keep the base device's value: what they may be off by, and whose fits lean on them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "costmodel/device_spec.h"

namespace espalier::sim {

/// Relative half width (of a share: of the whole) of a parameter of the calibration at the base's value. What others
/// measured is an assumption for this very card.
double kept_half_width(const costmodel::DeviceSpec& base, std::string_view parameter);

/// Writes into the provenance of a field that it wasn't measured, and why; what others measured, on parts like it,
/// becomes assumed.
void keep_as_assumed(costmodel::DeviceSpec& device, const std::string& base, const std::string& name,
                     const std::string& why_not);

/// Fitted values of each parameter, a row a bootstrap draw.
using Draws = std::map<std::string, std::vector<double>, std::less<>>;

/// Of `others`, the one that draws of `name` follow (correlation beyond 0.7, either way), the closest first; empty if
/// none.
std::string followed_by(const std::string& name, const std::vector<std::string>& others, const Draws& draws);

}  // namespace espalier::sim
