/* discovery: the addresses at which this node can be reached, and how it finds the others again.
 *
 * Our own entry has the current addresses of this machine.  When they change, the entry gets a new version,
 * and connections from an address that is gone are reopened.  Missing nodes are called over the local
 * network.
 * Threads: the loop. */
#include "config.h"

#include "daemon/core/log.h"
#include "daemon/members/members_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_NS 2000000000u /* between calls for a missing node */
#define CALL_OFTEN_NS 60000000000u
#define CALL_SELDOM_NS 20000000000u

int members_endpoints(struct members *m, char out[WIRE_ENDPOINTS_MAX][ADDRESS_MAX]) {
	int n = 0;
	if (m->advertise)
		snprintf(out[n++], ADDRESS_MAX, "%s", m->advertise);
	else if (m->config.listen)
		n = address_list(peers_endpoint(m->peers), out, WIRE_ENDPOINTS_MAX);
	if (n < 0 && !m->address_retry_ns)
		log_line(LOG_LINE_WARN,
		        "cannot read the addresses of this machine: %s; other nodes keep the last known ones",
		        strerror(-n));
	m->address_retry_ns = n < 0 ? loop_now_ns() + ADDRESS_CHECK_MS * (uint64_t)1000000 : 0;
	for (int i = 1; i < n; i++)
		if (strcmp(out[i], m->preferred) == 0) {
			memmove(out + 1, out, (size_t)i * sizeof *out);
			snprintf(out[0], ADDRESS_MAX, "%s", m->preferred);
		}
	return n;
}

bool member_is_at(const struct member *who, char (*endpoints)[ADDRESS_MAX], size_t n) {
	bool same = who->nendpoints == n;
	for (size_t i = 0; i < n && same; i++)
		same = strcmp(who->endpoints[i], endpoints[i]) == 0;
	return same;
}

static bool discovery_have_address(void *arg, const char *address) {
	(void)arg;
	return address_have(address);
}

void members_readdress(struct members *m) {
	char found[WIRE_ENDPOINTS_MAX][ADDRESS_MAX];
	struct member *self = members_own(m);
	int n = members_endpoints(m, found);
	if (n < 0 || self->expelled || member_is_at(self, found, (size_t)n))
		return;
	roster_edit(&m->roster, &self->id, self->name, found, (size_t)n, false, 0);
	log_line(LOG_LINE_INFO, "this node is now at %s%s", n ? found[0] : "no address",
	        n > 1 ? " and other addresses" : "");
	members_save(m);
	members_send_roster(m, NULL);
	members_notify(m, self, MEMBER_CHANGED);
}

/* An address of this machine was added or removed: tells the others, and calls missing nodes from the new
 * ones. */
void members_addresses_changed(void *arg) {
	struct members *m = arg;
	members_readdress(m);
	if (m->address_retry_ns) /* unknown now: called again later */
		return;
	peers_readdress(m->peers, discovery_have_address, NULL);
	m->missed_ns = m->called_ns = 0; /* call missing nodes again */
	m->deaf = false;
}

/* ---- calling over the local network ------------------------------------------------------------------------ */

static void discovery_on_beacon(void *arg, const uint8_t tag[BEACON_TAG], const char *endpoint) {
	struct members *m = arg;
	for (size_t i = 0; i < m->roster.n; i++) {
		const struct member *who = m->roster.at[i];
		uint8_t own[BEACON_TAG];
		if (who->self || who->expelled || who->linked)
			continue;
		beacon_tag(&who->id, own);
		if (memcmp(own, tag, sizeof own) == 0)
			peers_hint(m->peers, &who->id, endpoint);
	}
}

/* While a node is missing: calls often at first, then now and then. */
void members_call_beacon(struct members *m, uint64_t now) {
	bool missing = false;
	for (size_t i = 0; i < m->roster.n; i++)
		missing |= !m->roster.at[i]->self && !m->roster.at[i]->expelled && !m->roster.at[i]->linked;
	/* with a fixed address, or an advertised one, the others know where this node is */
	if (!m->config.listen || !address_is_any(peers_endpoint(m->peers)) || members_own(m)->expelled ||
	        roster_others(&m->roster) == 0)
		return;
	if (!m->beacon && m->deaf)
		return;
	if (!m->beacon) {
		const char *port = strrchr(peers_endpoint(m->peers), ':') + 1;
		int rc = beacon_create(&m->beacon, m->config.loop, &m->config.keys->public,
		        (uint16_t)strtoul(port, NULL, 10), discovery_on_beacon, m);
		m->deaf = rc != 0;
		if (rc) {
			log_line(LOG_LINE_INFO, "cannot look for nodes on the local network: %s",
			        strerror(-rc));
			return;
		}
	}
	if (!missing || m->advertise) {
		m->missed_ns = 0;
		return;
	}
	m->missed_ns = m->missed_ns ? m->missed_ns : now;
	if (now - m->called_ns < (now - m->missed_ns < CALL_OFTEN_NS ? CALL_NS : CALL_SELDOM_NS))
		return;
	m->called_ns = now;
	beacon_call(m->beacon);
}

const char *members_name_at(void *arg, const char *address) {
	const struct members *m = arg;
	size_t len = strlen(address);
	for (size_t i = 0; i < m->roster.n; i++) {
		const struct member *who = m->roster.at[i];
		for (size_t k = 0; k < who->nendpoints && !who->self; k++) {
			const char *host = who->endpoints[k] + strlen("tcp://");
			host += *host == '[';
			if (strncmp(host, address, len) == 0 && (host[len] == ':' || host[len] == ']'))
				return who->name;
		}
	}
	return NULL;
}
