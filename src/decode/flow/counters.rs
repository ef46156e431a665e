//! Counter records of sFlow: what each kind holds, by the names of the MIBs and structures they come from.
//!
//! A [`Layout`] lists the values of one kind in their order. A record that ends early gives the values that
//! are whole; octets behind the last value are those of a later version of the structure.

use super::ecs::push_extra;
use super::template::{float, signed, unsigned};
use crate::decode::{FieldId, Fields, Value};

/// The values of one kind of record.
type Layout = &'static [(&'static str, Shape)];

/// How a value stands in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A number of this many octets.
    Number(usize),
    /// A number of four octets that may be negative.
    Signed,
    /// A fraction of four octets.
    Fraction,
    /// Six octets, filled up to eight.
    Mac,
    /// Octets that are shown as they are.
    Octets(usize),
    /// A length, and a text filled up to a multiple of four.
    Text,
    /// The name of the host that tells its counters.
    Host,
    /// A number of lists, which stand behind it: what each of them holds.
    Lanes(Layout),
}

use Shape::{Fraction, Host, Lanes, Mac, Octets, Signed, Text};
const U32: Shape = Shape::Number(4);
const U64: Shape = Shape::Number(8);

/// Lanes of a transceiver that are told; optical modules have ten at most.
const MAX_LANES: u32 = 16;
/// Octets of a text; the structures allow 64.
const MAX_TEXT: usize = 255;

/// Whether records of a format are decoded.
pub(super) fn is_known(format: u32) -> bool {
    layout(format).is_some()
}

/// Writes the values of a record.
pub(super) fn write(format: u32, input: &[u8], out: &mut Fields) {
    if let Some(layout) = layout(format) {
        write_values(layout, input, out);
    }
}

/// Writes the values of a layout; gives what follows them, or none if the input ends before.
fn write_values<'a>(layout: Layout, mut input: &'a [u8], out: &mut Fields) -> Option<&'a [u8]> {
    for (name, shape) in layout {
        input = write_value(name, *shape, input, out)?;
    }
    Some(input)
}

fn write_value<'a>(name: &'static str, shape: Shape, input: &'a [u8], out: &mut Fields) -> Option<&'a [u8]> {
    let length = match shape {
        Shape::Number(length) | Octets(length) => length,
        Signed | Fraction | Text | Host | Lanes(_) => 4,
        Mac => 8,
    };
    let (octets, rest) = input.split_at_checked(length)?;
    let value = match shape {
        Shape::Number(_) => unsigned(octets).map(Value::Unsigned),
        Signed => signed(octets).map(Value::Signed),
        Fraction => float(octets).map(Value::Float),
        Mac => octets.first_chunk().map(|mac| Value::Mac(*mac)),
        Octets(_) => Some(super::ecs::hexadecimal(octets, out)),
        Text | Host => {
            let (text, rest) = text(input)?;
            let text = text.split(|octet| *octet == 0).next().unwrap_or_default();
            let text = text.get(..MAX_TEXT).unwrap_or(text);
            if !text.is_empty() {
                let value = out.text(text);
                match shape {
                    Host => out.push(FieldId::HostName, value),
                    _ => push_extra(out, name, value),
                }
            }
            return Some(rest);
        }
        Lanes(layout) => {
            let mut rest = rest;
            for _ in 0..unsigned(octets)?.min(MAX_LANES.into()) {
                rest = write_values(layout, rest, out)?;
            }
            return Some(rest);
        }
    };
    if let Some(value) = value {
        push_extra(out, name, value);
    }
    Some(rest)
}

/// A text behind its length, filled up to a multiple of four octets (RFC 4506, section 4.11), and the rest.
pub(super) fn text(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    let text = rest.get(..length)?;
    // The last one of a record may lack what fills it up.
    Some((text, rest.get(length.checked_next_multiple_of(4)?..).unwrap_or_default()))
}

/// The values of the records of a format; none for one that is not known.
fn layout(format: u32) -> Option<Layout> {
    Some(match format {
        1 => INTERFACE,
        2 => ETHERNET,
        3 => TOKEN_RING,
        4 => VG,
        5 => VLAN,
        6 => WIRELESS,
        7 => AGGREGATION,
        10 => TRANSCEIVER,
        1001 => PROCESSOR,
        1002 => RADIO,
        1003 => QUEUE,
        1004 => &[("openflowDatapathId", U64), ("openflowPort", U32)],
        1005 => &[("portName", Text)],
        2000 => HOST,
        // Adapters, of which each has a list of hardware addresses inside: their number is enough.
        2001 => &[("hostAdapters", U32)],
        2002 => &[("containerType", U32), ("containerIndex", U32)],
        2003 => HOST_PROCESSOR,
        2004 => HOST_MEMORY,
        2005 => HOST_DISK,
        2006 => HOST_NETWORK,
        2007 => HOST_IP,
        2008 => HOST_ICMP,
        2009 => HOST_TCP,
        2010 => HOST_UDP,
        2100 => VIRTUAL_NODE,
        2101 => &[("virtState", U32), ("virtCpuTime", U32), ("virtCpuCount", U32)],
        2102 => &[("virtMemory", U64), ("virtMaxMemory", U64)],
        2103 => VIRTUAL_DISK,
        2104 => VIRTUAL_NETWORK,
        2201 => HTTP,
        2202 => APPLICATION,
        2203 => APPLICATION_RESOURCES,
        2206 => APPLICATION_WORKERS,
        _ => return None,
    })
}

/// Generic interface counters (RFC 2233).
const INTERFACE: Layout = &[
    ("ifIndex", U32),
    ("ifType", U32),
    ("ifSpeed", U64),
    ("ifDirection", U32),
    ("ifStatus", U32),
    ("ifInOctets", U64),
    ("ifInUcastPkts", U32),
    ("ifInMulticastPkts", U32),
    ("ifInBroadcastPkts", U32),
    ("ifInDiscards", U32),
    ("ifInErrors", U32),
    ("ifInUnknownProtos", U32),
    ("ifOutOctets", U64),
    ("ifOutUcastPkts", U32),
    ("ifOutMulticastPkts", U32),
    ("ifOutBroadcastPkts", U32),
    ("ifOutDiscards", U32),
    ("ifOutErrors", U32),
    ("ifPromiscuousMode", U32),
];
/// Ethernet interface counters (RFC 2358).
const ETHERNET: Layout = &[
    ("dot3StatsAlignmentErrors", U32),
    ("dot3StatsFCSErrors", U32),
    ("dot3StatsSingleCollisionFrames", U32),
    ("dot3StatsMultipleCollisionFrames", U32),
    ("dot3StatsSQETestErrors", U32),
    ("dot3StatsDeferredTransmissions", U32),
    ("dot3StatsLateCollisions", U32),
    ("dot3StatsExcessiveCollisions", U32),
    ("dot3StatsInternalMacTransmitErrors", U32),
    ("dot3StatsCarrierSenseErrors", U32),
    ("dot3StatsFrameTooLongs", U32),
    ("dot3StatsInternalMacReceiveErrors", U32),
    ("dot3StatsSymbolErrors", U32),
];
/// Token ring counters (RFC 1748).
const TOKEN_RING: Layout = &[
    ("dot5StatsLineErrors", U32),
    ("dot5StatsBurstErrors", U32),
    ("dot5StatsACErrors", U32),
    ("dot5StatsAbortTransErrors", U32),
    ("dot5StatsInternalErrors", U32),
    ("dot5StatsLostFrameErrors", U32),
    ("dot5StatsReceiveCongestions", U32),
    ("dot5StatsFrameCopiedErrors", U32),
    ("dot5StatsTokenErrors", U32),
    ("dot5StatsSoftErrors", U32),
    ("dot5StatsHardErrors", U32),
    ("dot5StatsSignalLoss", U32),
    ("dot5StatsTransmitBeacons", U32),
    ("dot5StatsRecoverys", U32),
    ("dot5StatsLobeWires", U32),
    ("dot5StatsRemoves", U32),
    ("dot5StatsSingles", U32),
    ("dot5StatsFreqErrors", U32),
];
/// 100BaseVG interface counters (RFC 2020).
const VG: Layout = &[
    ("dot12InHighPriorityFrames", U32),
    ("dot12InHighPriorityOctets", U64),
    ("dot12InNormPriorityFrames", U32),
    ("dot12InNormPriorityOctets", U64),
    ("dot12InIPMErrors", U32),
    ("dot12InOversizeFrameErrors", U32),
    ("dot12InDataErrors", U32),
    ("dot12InNullAddressedFrames", U32),
    ("dot12OutHighPriorityFrames", U32),
    ("dot12OutHighPriorityOctets", U64),
    ("dot12TransitionIntoTrainings", U32),
    ("dot12HCInHighPriorityOctets", U64),
    ("dot12HCInNormPriorityOctets", U64),
    ("dot12HCOutHighPriorityOctets", U64),
];
/// VLAN counters.
const VLAN: Layout = &[
    ("vlanId", U32),
    ("vlanOctets", U64),
    ("vlanUcastPkts", U32),
    ("vlanMulticastPkts", U32),
    ("vlanBroadcastPkts", U32),
    ("vlanDiscards", U32),
];
/// IEEE 802.11 counters.
const WIRELESS: Layout = &[
    ("dot11TransmittedFragmentCount", U32),
    ("dot11MulticastTransmittedFrameCount", U32),
    ("dot11FailedCount", U32),
    ("dot11RetryCount", U32),
    ("dot11MultipleRetryCount", U32),
    ("dot11FrameDuplicateCount", U32),
    ("dot11RTSSuccessCount", U32),
    ("dot11RTSFailureCount", U32),
    ("dot11ACKFailureCount", U32),
    ("dot11ReceivedFragmentCount", U32),
    ("dot11MulticastReceivedFrameCount", U32),
    ("dot11FCSErrorCount", U32),
    ("dot11TransmittedFrameCount", U32),
    ("dot11WEPUndecryptableCount", U32),
    ("dot11QoSDiscardedFragmentCount", U32),
    ("dot11AssociatedStationCount", U32),
    ("dot11QoSCFPollsReceivedCount", U32),
    ("dot11QoSCFPollsUnusedCount", U32),
    ("dot11QoSCFPollsUnusableCount", U32),
    ("dot11QoSCFPollsLostCount", U32),
];
/// Ports of a link aggregation (IEEE 802.1AX; sflow.org/sflow_lag.txt).
const AGGREGATION: Layout = &[
    ("dot3adAggPortActorSystemID", Mac),
    ("dot3adAggPortPartnerOperSystemID", Mac),
    ("dot3adAggPortAttachedAggID", U32),
    ("dot3adAggPortActorAdminState", Shape::Number(1)),
    ("dot3adAggPortActorOperState", Shape::Number(1)),
    ("dot3adAggPortPartnerAdminState", Shape::Number(1)),
    ("dot3adAggPortPartnerOperState", Shape::Number(1)),
    ("dot3adAggPortStatsLACPDUsRx", U32),
    ("dot3adAggPortStatsMarkerPDUsRx", U32),
    ("dot3adAggPortStatsMarkerResponsePDUsRx", U32),
    ("dot3adAggPortStatsUnknownRx", U32),
    ("dot3adAggPortStatsIllegalRx", U32),
    ("dot3adAggPortStatsLACPDUsTx", U32),
    ("dot3adAggPortStatsMarkerPDUsTx", U32),
    ("dot3adAggPortStatsMarkerResponsePDUsTx", U32),
];
/// Optical transceivers (sflow.org/sflow_optics.txt).
const TRANSCEIVER: Layout = &[
    ("sfpModuleId", U32),
    ("sfpModuleTotalLanes", U32),
    ("sfpModuleSupplyVoltage", U32),
    ("sfpModuleTemperature", Signed),
    ("sfpLanes", Lanes(LANE)),
];
const LANE: Layout = &[
    ("sfpLaneIndex", U32),
    ("sfpLaneTxBiasCurrent", U32),
    ("sfpLaneTxPower", U32),
    ("sfpLaneTxPowerMin", U32),
    ("sfpLaneTxPowerMax", U32),
    ("sfpLaneTxWavelength", U32),
    ("sfpLaneRxPower", U32),
    ("sfpLaneRxPowerMin", U32),
    ("sfpLaneRxPowerMax", U32),
    ("sfpLaneRxWavelength", U32),
];
/// Processor of a switch.
const PROCESSOR: Layout =
    &[("cpu5s", U32), ("cpu1m", U32), ("cpu5m", U32), ("totalMemory", U64), ("freeMemory", U64)];
/// Use of a radio channel.
const RADIO: Layout =
    &[("radioElapsedTime", U32), ("radioOnChannelTime", U32), ("radioOnChannelBusyTime", U32)];
/// How often a queue was how long.
const QUEUE: Layout = &[
    ("queueIndex", U32),
    ("queueSegmentSize", U32),
    ("queueSegments", U32),
    ("queueLength0", U32),
    ("queueLength1", U32),
    ("queueLength2", U32),
    ("queueLength4", U32),
    ("queueLength8", U32),
    ("queueLength32", U32),
    ("queueLength128", U32),
    ("queueLength1024", U32),
    ("queueLengthMore", U32),
    ("queueDropped", U32),
];
/// What a host is (sflow.org/sflow_host.txt, as what follows).
const HOST: Layout = &[
    ("hostName", Host),
    ("hostUuid", Octets(16)),
    ("hostMachineType", U32),
    ("hostOsName", U32),
    ("hostOsRelease", Text),
];
const HOST_PROCESSOR: Layout = &[
    ("loadOne", Fraction),
    ("loadFive", Fraction),
    ("loadFifteen", Fraction),
    ("procRun", U32),
    ("procTotal", U32),
    ("cpuNum", U32),
    ("cpuSpeed", U32),
    ("uptime", U32),
    ("cpuUser", U32),
    ("cpuNice", U32),
    ("cpuSystem", U32),
    ("cpuIdle", U32),
    ("cpuWio", U32),
    ("cpuIntr", U32),
    ("cpuSintr", U32),
    ("interrupts", U32),
    ("contexts", U32),
    // Not told by earlier versions.
    ("cpuSteal", U32),
    ("cpuGuest", U32),
    ("cpuGuestNice", U32),
];
const HOST_MEMORY: Layout = &[
    ("memTotal", U64),
    ("memFree", U64),
    ("memShared", U64),
    ("memBuffers", U64),
    ("memCached", U64),
    ("swapTotal", U64),
    ("swapFree", U64),
    ("pageIn", U32),
    ("pageOut", U32),
    ("swapIn", U32),
    ("swapOut", U32),
];
const HOST_DISK: Layout = &[
    ("diskTotal", U64),
    ("diskFree", U64),
    ("diskPartMaxUsed", U32),
    ("diskReads", U32),
    ("diskBytesRead", U64),
    ("diskReadTime", U32),
    ("diskWrites", U32),
    ("diskBytesWritten", U64),
    ("diskWriteTime", U32),
];
const HOST_NETWORK: Layout = &[
    ("netBytesIn", U64),
    ("netPacketsIn", U32),
    ("netErrorsIn", U32),
    ("netDropsIn", U32),
    ("netBytesOut", U64),
    ("netPacketsOut", U32),
    ("netErrorsOut", U32),
    ("netDropsOut", U32),
];
/// Groups of the MIB of IP (RFC 4293, with the names of RFC 1213), ICMP, TCP and UDP.
const HOST_IP: Layout = &[
    ("ipForwarding", U32),
    ("ipDefaultTTL", U32),
    ("ipInReceives", U32),
    ("ipInHdrErrors", U32),
    ("ipInAddrErrors", U32),
    ("ipForwDatagrams", U32),
    ("ipInUnknownProtos", U32),
    ("ipInDiscards", U32),
    ("ipInDelivers", U32),
    ("ipOutRequests", U32),
    ("ipOutDiscards", U32),
    ("ipOutNoRoutes", U32),
    ("ipReasmTimeout", U32),
    ("ipReasmReqds", U32),
    ("ipReasmOKs", U32),
    ("ipReasmFails", U32),
    ("ipFragOKs", U32),
    ("ipFragFails", U32),
    ("ipFragCreates", U32),
];
const HOST_ICMP: Layout = &[
    ("icmpInMsgs", U32),
    ("icmpInErrors", U32),
    ("icmpInDestUnreachs", U32),
    ("icmpInTimeExcds", U32),
    ("icmpInParamProbs", U32),
    ("icmpInSrcQuenchs", U32),
    ("icmpInRedirects", U32),
    ("icmpInEchos", U32),
    ("icmpInEchoReps", U32),
    ("icmpInTimestamps", U32),
    ("icmpInAddrMasks", U32),
    ("icmpInAddrMaskReps", U32),
    ("icmpOutMsgs", U32),
    ("icmpOutErrors", U32),
    ("icmpOutDestUnreachs", U32),
    ("icmpOutTimeExcds", U32),
    ("icmpOutParamProbs", U32),
    ("icmpOutSrcQuenchs", U32),
    ("icmpOutRedirects", U32),
    ("icmpOutEchos", U32),
    ("icmpOutEchoReps", U32),
    ("icmpOutTimestamps", U32),
    ("icmpOutTimestampReps", U32),
    ("icmpOutAddrMasks", U32),
    ("icmpOutAddrMaskReps", U32),
];
const HOST_TCP: Layout = &[
    ("tcpRtoAlgorithm", U32),
    ("tcpRtoMin", U32),
    ("tcpRtoMax", U32),
    ("tcpMaxConn", U32),
    ("tcpActiveOpens", U32),
    ("tcpPassiveOpens", U32),
    ("tcpAttemptFails", U32),
    ("tcpEstabResets", U32),
    ("tcpCurrEstab", U32),
    ("tcpInSegs", U32),
    ("tcpOutSegs", U32),
    ("tcpRetransSegs", U32),
    ("tcpInErrs", U32),
    ("tcpOutRsts", U32),
    ("tcpInCsumErrors", U32),
];
const HOST_UDP: Layout = &[
    ("udpInDatagrams", U32),
    ("udpNoPorts", U32),
    ("udpInErrors", U32),
    ("udpOutDatagrams", U32),
    ("udpRcvbufErrors", U32),
    ("udpSndbufErrors", U32),
    ("udpInCsumErrors", U32),
];
const VIRTUAL_NODE: Layout = &[
    ("virtNodeMhz", U32),
    ("virtNodeCpus", U32),
    ("virtNodeMemory", U64),
    ("virtNodeMemoryFree", U64),
    ("virtNodeDomains", U32),
];
const VIRTUAL_DISK: Layout = &[
    ("virtDiskCapacity", U64),
    ("virtDiskAllocation", U64),
    ("virtDiskAvailable", U64),
    ("virtDiskReadRequests", U32),
    ("virtDiskReadBytes", U64),
    ("virtDiskWriteRequests", U32),
    ("virtDiskWriteBytes", U64),
    ("virtDiskErrors", U32),
];
const VIRTUAL_NETWORK: Layout = &[
    ("virtNetBytesIn", U64),
    ("virtNetPacketsIn", U32),
    ("virtNetErrorsIn", U32),
    ("virtNetDropsIn", U32),
    ("virtNetBytesOut", U64),
    ("virtNetPacketsOut", U32),
    ("virtNetErrorsOut", U32),
    ("virtNetDropsOut", U32),
];
/// Requests of a web server (sflow.org/sflow_http.txt).
const HTTP: Layout = &[
    ("httpOptionCount", U32),
    ("httpGetCount", U32),
    ("httpHeadCount", U32),
    ("httpPostCount", U32),
    ("httpPutCount", U32),
    ("httpDeleteCount", U32),
    ("httpTraceCount", U32),
    ("httpConnectCount", U32),
    ("httpOtherCount", U32),
    ("httpStatus1xxCount", U32),
    ("httpStatus2xxCount", U32),
    ("httpStatus3xxCount", U32),
    ("httpStatus4xxCount", U32),
    ("httpStatus5xxCount", U32),
    ("httpStatusOtherCount", U32),
];
/// Operations of an application (sflow.org/sflow_application.txt).
const APPLICATION: Layout = &[
    ("application", Text),
    ("appSuccess", U32),
    ("appOther", U32),
    ("appTimeout", U32),
    ("appInternalError", U32),
    ("appBadRequest", U32),
    ("appForbidden", U32),
    ("appTooLarge", U32),
    ("appNotImplemented", U32),
    ("appNotFound", U32),
    ("appUnavailable", U32),
    ("appUnauthorized", U32),
];
const APPLICATION_RESOURCES: Layout = &[
    ("appUserTime", U32),
    ("appSystemTime", U32),
    ("appMemUsed", U64),
    ("appMemMax", U64),
    ("appFdOpen", U32),
    ("appFdMax", U32),
    ("appConnOpen", U32),
    ("appConnMax", U32),
];
const APPLICATION_WORKERS: Layout = &[
    ("appWorkersActive", U32),
    ("appWorkersIdle", U32),
    ("appWorkersMax", U32),
    ("appRequestsDelayed", U32),
    ("appRequestsDropped", U32),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: u32, input: &[u8]) -> Vec<(String, String)> {
        let mut out = Fields::default();
        write(format, input, &mut out);
        let text = |value: Value| match value {
            Value::Text(_) | Value::Static(_) => String::from_utf8_lossy(out.bytes(&[], value)).into_owned(),
            other => format!("{other:?}"),
        };
        let named = out.entries().iter().map(|(id, value)| (id.name().to_owned(), text(*value)));
        named.chain(out.extras().iter().map(|extra| (text(extra.key), text(extra.value)))).collect()
    }

    fn octets(layout: Layout) -> usize {
        let one = |(_, shape): &(&str, Shape)| match shape {
            Shape::Number(length) | Octets(length) => *length,
            Mac => 8,
            _ => 4,
        };
        layout.iter().map(one).sum()
    }

    /// The sizes that the specifications give the structures of fixed length.
    #[test]
    fn layouts_are_as_long_as_specified() {
        for (name, layout, length) in [
            ("if_counters", INTERFACE, 88),
            ("ethernet_counters", ETHERNET, 52),
            ("tokenring_counters", TOKEN_RING, 72),
            ("vg_counters", VG, 80),
            ("vlan_counters", VLAN, 28),
            ("80211_counters", WIRELESS, 80),
            ("lag_port_stats", AGGREGATION, 56),
            ("lane", LANE, 40),
            ("processor", PROCESSOR, 28),
            ("host_cpu", HOST_PROCESSOR, 80),
            ("host_memory", HOST_MEMORY, 72),
            ("host_disk_io", HOST_DISK, 52),
            ("host_net_io", HOST_NETWORK, 40),
            ("mib2_ip_group", HOST_IP, 76),
            ("mib2_icmp_group", HOST_ICMP, 100),
            ("mib2_tcp_group", HOST_TCP, 60),
            ("mib2_udp_group", HOST_UDP, 28),
            ("virt_node", VIRTUAL_NODE, 28),
            ("virt_disk_io", VIRTUAL_DISK, 52),
            ("virt_net_io", VIRTUAL_NETWORK, 40),
            ("http_counters", HTTP, 60),
            ("app_resources", APPLICATION_RESOURCES, 40),
        ] {
            assert_eq!(octets(layout), length, "{name}");
        }
    }

    #[test]
    fn values_are_written_as_far_as_they_go() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        #[rustfmt::skip]
        let host: &[u8] = &[
            0, 0, 0, 5, b'd', b'b', b'-', b'0', b'1', 0, 0, 0,  // name, filled up
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
            0, 0, 0, 3, 0, 0, 0, 2,                             // x86_64, Linux
            0, 0, 0, 3, b'6', b'.', b'1', 0,                    // release
        ];
        let whole = pairs(&[
            ("host.name", "db-01"),
            ("hostUuid", "0102030405060708090a0b0c0d0e0f10"),
            ("hostMachineType", "Unsigned(3)"),
            ("hostOsName", "Unsigned(2)"),
            ("hostOsRelease", "6.1"),
        ]);
        assert_eq!(written(2000, host), whole);
        for cut in 0..host.len() {
            let some = written(2000, &host[..cut]);
            assert_eq!(some[..], whole[..some.len()], "{cut}");
        }
        let lane = |index: u8| [&[0, 0, 0, index][..], &[0; 36]].concat();
        let head: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 12, 228, 0xff, 0xff, 0xff, 0xf6];
        let module = [head, &[0, 0, 0, 2], &lane(1), &lane(2)].concat();
        let module = written(10, &module);
        assert!(module.contains(&("sfpModuleTemperature".to_owned(), "Signed(-10)".to_owned())));
        let lanes: Vec<_> = module.iter().filter(|(name, _)| name == "sfpLaneIndex").collect();
        assert_eq!(
            lanes.iter().map(|(_, value)| &**value).collect::<Vec<_>>(),
            ["Unsigned(1)", "Unsigned(2)"]
        );
        // A number of lanes that lies.
        assert_eq!(written(10, &[head, &[0xff; 4], &lane(1)].concat()).len(), 4 + 10);
        let ports = written(7, &[&[2, 0, 0, 0, 0, 1, 0, 0][..], &[2, 0, 0, 0, 0, 2, 0, 0]].concat());
        assert_eq!(ports[1].1, "Mac([2, 0, 0, 0, 0, 2])");
        assert_eq!(written(1005, &[0xff, 0xff, 0xff, 0xff, b'x']), []);
        assert!(written(99, &[0; 400]).is_empty() && !is_known(99) && is_known(2206));
    }
}
