/**
 * The first message of a client has a number in the place of the protocol version. It says what the client wants
 * (PostgreSQL documentation, "Message Formats": StartupMessage, SSLRequest, GSSENCRequest, CancelRequest).
 */
export const startupCode = {
  protocol3: 196_608,
  cancelRequest: 80_877_102,
  sslRequest: 80_877_103,
  gssRequest: 80_877_104,
};
